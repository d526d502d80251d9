"""Loads and plans from Python, with the options of the programs as keywords."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from pykexec.loading.options import CallName, MoreOptions, StrPath
    from pykexec.loading.results import Loaded, Planned
    from pykexec.planning.plans import Plan


def load_kernel(
    kernel: StrPath | None = None,
    *,
    initrd: StrPath | None = None,
    cmdline: str | bytes | None = None,
    append: str | bytes | None = None,
    reuse_cmdline: bool = False,
    dtb: StrPath | None = None,
    call: CallName = "auto",
    boot_entry: str | None = None,
    debug: bool = False,
    on_warning: Callable[[str], None] | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    **more: Unpack[MoreOptions],
) -> Loaded:
    """Load a kernel on this machine, for a later jump: what ``kexec -l`` does.

    ``kernel`` is a path, ``FILE#CONFIGURATION`` for one in a FIT image or a profile of a UKI;
    ``boot_entry`` names an entry of the boot loader instead, ``default`` for its default.
    ``cmdline`` is the whole command line; with ``reuse_cmdline`` it is the running kernel's, and
    ``append`` comes behind either. A str is encoded as UTF-8, its surrogate escapes as the bytes
    that they stand for. ``call`` is ``auto``, ``file`` for kexec_file_load(2) or ``segments``
    for kexec_load(2). ``debug`` has the kernel log the load. The other keywords are those of
    :class:`pykexec.loading.options.MoreOptions`, named as the options of kexec(8).

    Fresh seeds, the choice of the call, the verifier, what is tried when the first call does not
    take the kernel, and the record in /run/pykexec go without asking. Nothing is printed: the
    result has the warnings, and ``on_warning`` is told each as it comes, ``on_plan`` each plan
    just before it is tried.

    Raises the errors of :mod:`pykexec.errors`. What is loaded after a failure is in the error's
    ``aftermath``, the warnings until then in its ``warnings``.
    """
    from pykexec.loading.live import load_live
    from pykexec.loading.options import options_of

    options = options_of(
        kernel,
        initrd=initrd,
        cmdline=cmdline,
        append=append,
        reuse_cmdline=reuse_cmdline,
        dtb=dtb,
        call=call,
        boot_entry=boot_entry,
        more=more,
    )
    return load_live(options, debug=debug, on_warning=on_warning, on_plan=on_plan)


def load_crash_kernel(
    kernel: StrPath | None = None,
    *,
    initrd: StrPath | None = None,
    cmdline: str | bytes | None = None,
    append: str | bytes | None = None,
    reuse_cmdline: bool = False,
    dtb: StrPath | None = None,
    call: CallName = "auto",
    boot_entry: str | None = None,
    debug: bool = False,
    on_warning: Callable[[str], None] | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    **more: Unpack[MoreOptions],
) -> Loaded:
    """Load the kernel that a panic jumps into: what ``kexec -p`` does.

    As :func:`load_kernel`; raises :class:`~pykexec.errors.NoCrashRegionError` where no memory is
    reserved for it. The kernel drops the crash kernel that was loaded before it takes another.
    """
    from pykexec.loading.live import load_live
    from pykexec.loading.options import options_of

    options = options_of(
        kernel,
        crash=True,
        initrd=initrd,
        cmdline=cmdline,
        append=append,
        reuse_cmdline=reuse_cmdline,
        dtb=dtb,
        call=call,
        boot_entry=boot_entry,
        more=more,
    )
    return load_live(options, debug=debug, on_warning=on_warning, on_plan=on_plan)


def plan_kernel(
    kernel: StrPath | None = None,
    *,
    machine: StrPath = "/",
    crash: bool = False,
    initrd: StrPath | None = None,
    cmdline: str | bytes | None = None,
    append: str | bytes | None = None,
    reuse_cmdline: bool = False,
    dtb: StrPath | None = None,
    call: CallName = "auto",
    boot_entry: str | None = None,
    seed: str | None = None,
    **more: Unpack[MoreOptions],
) -> Planned:
    """Plan what :func:`load_kernel` would do, or with ``crash`` :func:`load_crash_kernel`.

    Nothing is loaded, and no privilege is needed but to read the machine. ``machine`` is ``/``,
    or what 'pykexec machine record' wrote: a directory or a tar, and then nothing of this
    machine goes into the plan. ``seed`` makes the new kernel's random seeds of a text, so that
    plans can be compared. All else is as for :func:`load_kernel`.

    A plan by kexec_load(2) is verified; one by kexec_file_load(2) has what kexec_load(2) would
    do beneath it. Raises the errors of :mod:`pykexec.errors`.
    """
    from pykexec.loading.chosen_entry import with_boot_entry
    from pykexec.loading.options import options_of, path_of
    from pykexec.loading.planning import plan_of, read_basis
    from pykexec.loading.results import Planned

    root = path_of(machine, "machine")
    warnings: list[str] = []
    options = options_of(
        kernel,
        crash=crash,
        initrd=initrd,
        cmdline=cmdline,
        append=append,
        reuse_cmdline=reuse_cmdline,
        dtb=dtb,
        call=call,
        boot_entry=boot_entry,
        seed=seed,
        more=more,
    )
    options = with_boot_entry(options, root, warnings.append)
    basis = read_basis(root, options)
    choice = basis.prepared.choice
    return Planned(
        plan=plan_of(basis),
        facts=basis.facts,
        request=basis.request,
        reason=choice.reason,
        warnings=(*warnings, *choice.warnings),
    )
