# fish completion of vmcore-dmesg. Made by tools/generate_completions.py; change the program's options and run that.
complete -c vmcore-dmesg -F
complete -c vmcore-dmesg -s l -l level -d 'Print <facility * 8 + level> before each record.'
complete -c vmcore-dmesg -s c -l caller -d 'Print who logged it: [T123] a thread, [C0] a CPU.'
complete -c vmcore-dmesg -s u -l utf8 -d 'Do not escape valid UTF-8.'
complete -c vmcore-dmesg -s h -l help -d 'Print this help and exit.'
complete -c vmcore-dmesg -s v -l version -d 'Print the version and exit.'
