"""contrib/initramfs: what is packed for an early load, and what that load refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
PACK = CONTRIB / "initramfs/pack"
EARLY = CONTRIB / "initramfs/early-crash"
KEXEC = """#!/bin/sh
echo "$PYKEXEC_PACKED" >"{calls}.packed"
for word; do echo "<$word>"; done >"{calls}"
echo "kexec says this" >&2
exit {code}
"""


@dataclass
class Image:
    """An initramfs with a crash kernel in it, as its own root directory."""

    root: Path

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def kexec(self, code: int = 0) -> None:
        """Put a kexec there that ends with ``code``."""
        text = KEXEC.format(calls=self.root / "calls", code=code)
        self.write("usr/sbin/kexec", text, mode=0o755)

    def run(self, *switches: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        return subprocess.run(
            ["sh", str(EARLY), *(switches or ("pykexec.crash",))],
            env={"PATH": "/usr/bin:/bin", "PYKEXEC_ROOT": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def call(self) -> list[str] | None:
        """The words that kexec was called with, None when it was not."""
        calls = self.root / "calls"
        return calls.read_text().splitlines() if calls.exists() else None


@pytest.fixture
def image(tmp_path: Path) -> Image:
    made = Image(tmp_path)
    made.write("proc/cmdline", "quiet pykexec.crash crashkernel=256M *\n")
    made.write("sys/kernel/kexec_crash_loaded", "0\n")
    made.write("sys/kernel/kexec_crash_size", "268435456\n")
    for name, text in (
        ("kernel", "kernel"),
        ("initrd", "initrd"),
        ("append", 'nr_cpus=1 x="a  b"\n'),
        ("options", "--reuse-cmdline -s\n"),
    ):
        made.write(f"usr/lib/pykexec/crash/{name}", text)
    made.kexec()
    return made


def test_it_loads_what_the_image_has(image: Image) -> None:
    assert image.run().returncode == 0
    crash = image.root / "usr/lib/pykexec/crash"
    assert image.call == [
        *("<-p>", "<--reuse-cmdline>", "<-s>", '<--append=nr_cpus=1 x="a  b">'),
        *(f"<--initrd={crash}/initrd>", f"<{crash}/kernel>"),
    ]
    assert (image.root / "calls.packed").read_text() == f"{crash}/packed\n"


@pytest.mark.parametrize(
    ("cmdline", "loads"),
    [
        ("quiet", False),
        ("pykexec.crash=0", False),
        ("pykexec.crash pykexec.crash=0", False),
        ("pykexec.crash=no pykexec.crash=yes", True),
        ("pykexec.crashed", False),
        ("rd.earlykdump", True),
        ("", False),
    ],
)
def test_who_asks_for_it(image: Image, cmdline: str, loads: bool) -> None:
    image.write("proc/cmdline", cmdline)
    assert image.run("pykexec.crash", "rd.earlykdump").returncode == 0
    assert (image.call is not None) == loads


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        pytest.param("sys/kernel/kexec_crash_loaded", "1\n", 0, id="loaded"),
        pytest.param("sys/kernel/kexec/crash_loaded", "1\n", 0, id="loaded-new-place"),
        pytest.param("proc/vmcore", "", 0, id="crash-kernel"),
        pytest.param("sys/kernel/kexec_crash_size", "0\n", 1, id="no-memory"),
        pytest.param("sys/kernel/fadump/enabled", "1\n", 1, id="fadump"),
        pytest.param("sys/kernel/fadump_enabled", "1\n", 1, id="old-fadump"),
        pytest.param("sys/kernel/kexec_crash_loaded", None, 1, id="no-crash-kernels"),
        pytest.param("usr/lib/pykexec/crash/kernel", None, 1, id="none-packed"),
    ],
)
def test_what_is_not_loaded(image: Image, name: str, text: str | None, code: int) -> None:
    if text is None:
        (image.root / name).unlink()
    else:
        image.write(name, text)
    assert image.run().returncode == code
    assert image.call is None


def test_a_refusal_of_kexec_is_that_of_the_script(image: Image) -> None:
    image.kexec(code=254)
    image.write("dev/kmsg", "")
    assert image.run().returncode == 254
    assert (image.root / "dev/kmsg").read_text().splitlines() == [
        "pykexec: early crash kernel: not loaded, status 254",
        "pykexec: early crash kernel: kexec says this",
    ]


def pack(root: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``pack`` with a pykexec that ends with ``code``."""
    program = root / "pykexec"
    program.write_text(f'#!/bin/sh\necho "$@" >"{root}/asked"\nexit {code}\n')
    program.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYKEXEC_ROOT": str(root),
        "PYKEXEC_COMMAND": str(program),
    }
    command = ["sh", str(PACK), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_pykexec_that_fails_does_not_fail_the_image(tmp_path: Path) -> None:
    done = pack(tmp_path, "python", "/image", code=255)
    assert done.returncode == 0
    assert "the initramfs is made without pykexec" in done.stderr
    assert (tmp_path / "asked").read_text() == "initramfs tree --for kexec /image\n"


def test_an_image_of_dracut_has_no_interpreter_that_the_machine_lacks(tmp_path: Path) -> None:
    """It would be looked for there. The script goes on in the image's Python all the same."""
    python = tmp_path / "image/usr/lib/pykexec/bin/python3"
    script = python.parents[1] / "kexec"
    machine = Image(tmp_path / "machine")
    machine.write(
        "usr/lib/pykexec/pack",
        "#!/bin/sh\nmkdir -p $2/usr/lib/pykexec/bin\n"
        f"ln -s {sys.executable} {python}\n"
        f"printf '#!{python} -IB\\nimport sys\\nprint(sys.argv[1:], sys.flags.isolated)\\n'"
        f" >{script}\nchmod 755 {script}\n",
        mode=0o755,
    )
    module = CONTRIB / "dracut/50pykexec/module-setup.sh"
    install = (
        f'. "{module}"; dracutsysrootdir="{machine.root}"; initdir="{tmp_path}/image"; install'
    )
    subprocess.run(["bash", "-euc", install], check=True)
    assert script.read_text().startswith("#!/bin/sh\n")
    done = subprocess.run([script, "a b", "$c"], capture_output=True, text=True, check=True)
    assert done.stdout == "['a b', '$c'] 1\n"


@pytest.fixture
def machine(tmp_path: Path) -> Image:
    made = Image(tmp_path)
    made.write("boot/vmlinuz-6.12", "the kernel")
    made.write("var/lib/pykexec/capture-6.12.img", "the initrd")
    made.write("image/usr/lib/pykexec/bin/python3", "", mode=0o755)
    return made


def test_the_crash_kernel_is_packed(machine: Image) -> None:
    conf = "KDUMP_APPEND='panic=10 x=\"a  b\"'\nKDUMP_OPTIONS='--reuse-cmdline -s'\n"
    machine.write("etc/pykexec/kdump.conf", conf)
    image = machine.root / "image"
    done = pack(machine.root, "crash", str(image), "6.12")
    assert (done.returncode, done.stderr) == (0, "")
    home = image / "usr/lib/pykexec"
    found = {path.name: path.read_text() for path in (home / "crash").iterdir()}
    assert found == {
        "kernel": "the kernel",
        "initrd": "the initrd",
        "append": 'panic=10 x="a  b"\n',
        "options": "--reuse-cmdline -s\n",
        "packed": "".join(
            f"{role} {len(data)} {sha256(data).hexdigest()} {path}\n"
            for role, data, path in (
                ("kernel", b"the kernel", "/boot/vmlinuz-6.12"),
                ("initrd", b"the initrd", "/var/lib/pykexec/capture-6.12.img"),
            )
        ),
    }
    assert (home / "early-crash").read_bytes() == EARLY.read_bytes()
    assert (home / "early-crash").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("conf", "gone", "words"),
    [
        ("", "boot/vmlinuz-6.12", "no crash kernel for 6.12 is packed"),
        ("", "var/lib/pykexec/capture-6.12.img", "no initrd that is made for it"),
        ("KDUMP_KERNEL=/nowhere/else\n", "", "there is no '/nowhere/else'"),
    ],
)
def test_what_is_missing_is_told(machine: Image, conf: str, gone: str, words: str) -> None:
    machine.write("etc/pykexec/kdump.conf", conf)
    if gone:
        (machine.root / gone).unlink()
    image = machine.root / "image"
    done = pack(machine.root, "crash", str(image), "6.12")
    assert done.returncode == 0
    assert words in done.stderr
    assert not (image / "usr/lib/pykexec/crash").exists()


def test_an_initrd_may_be_none(machine: Image) -> None:
    machine.write("etc/pykexec/kdump.conf", "KDUMP_INITRD=none\n")
    image = machine.root / "image"
    assert pack(machine.root, "crash", str(image), "6.12").stderr == ""
    assert not (image / "usr/lib/pykexec/crash/initrd").exists()


def test_wrong_usage() -> None:
    done = subprocess.run(["sh", str(PACK), "all"], capture_output=True, check=False)
    assert done.returncode == 2
