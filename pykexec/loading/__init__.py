"""What is between what is wanted and the system call, for the programs and for Python alike.

``options`` says what may be chosen, ``load_request`` opens the files and chooses the call,
``planning`` stops at the plan, ``live`` goes on to the loaded kernel: by the call that was chosen
or the one that may follow it, between a mark and a record (``undertaking``). ``status`` reads what
is left of that. ``kernels`` has the same with keywords for Python, ``results`` what comes of it.

Nothing here prints: what there is to warn of is in the results, and told to a callback where the
order matters.
"""
