"""What builds a capture initramfs."""

from __future__ import annotations

from pykexec import capture_files
from pykexec.crash_setup.image import Packed, image_path, image_steps
from pykexec.crash_setup.place import Place
from pykexec.crash_setup.steps import Run, WriteFile
from pykexec.crash_setup.system import Generator

PLACE = Place("local", "UUID=1", "ext4", directory="/var/crash", modules=("ext4",))


def command(packed: Packed) -> tuple[str, ...]:
    steps = image_steps(Generator.DRACUT, "6.12", PLACE, b"", packed, capture_files.read)
    (words,) = (step.words for step in steps if isinstance(step, Run))
    return words


def test_the_main_loop_is_asked_for_where_it_is_a_module() -> None:
    """An unknown module is an error of dracut's."""
    assert "--add" not in command(Packed({}))
    words = command(Packed({}, main_loop=True))
    assert words[words.index("--add") + 1] == "initqueue"


def test_hooks_of_dracut_are_where_each_release_looks_for_them() -> None:
    """As files: what is below a directory is lost where the image has a link in its place."""
    packed = Packed({"sh": "/usr/bin/dash"})
    steps = image_steps(Generator.DRACUT, "6.12", PLACE, b"", packed, capture_files.read)
    written = {step.path: step for step in steps if isinstance(step, WriteFile)}
    (command,) = (step.words for step in steps if isinstance(step, Run))
    assert command[-1] == image_path("6.12")
    included = [
        (command[at + 2], command[at + 1]) for at, word in enumerate(command) if word == "--include"
    ]
    for point in ("settled", "finished"):
        for hooks in ("/usr/lib/dracut/hooks", "/var/lib/dracut/hooks"):
            source = dict(included)[f"{hooks}/initqueue/{point}/50-pykexec-capture.sh"]
            assert written[source].data == capture_files.read(f"dracut-{point}")
    assert not any("dracut/hooks" in path for path in written)
