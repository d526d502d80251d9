"""GRUB's configurations of whole systems: where they are, and what their file names mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pykexec.entries.file_systems import Mounted, MountTable, Volume
from pykexec.entries.grub_files import Absent, Device, FileReference
from pykexec.machine import boot_tree
from pykexec.machine.boot_entries import BootEntries, read_boot_entries
from pykexec.machine.boot_paths import PartitionPaths
from pykexec.machine.boot_tree import BootTree
from pykexec.machine.grub_config import GrubConfig, grub_configs
from tests.builders.boot_configs import FEDORA_GRUB, grubenv, write_system
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.images import build_uki
from tests.builders.mount_tables import Mount, write_mounts

RHEL_7 = """load_env
set default="${saved_entry}"
menuentry 'Linux 1160' { linuxefi /vmlinuz-3.10.0-1160 root=/dev/mapper/c-root ro
 initrdefi /initramfs-3.10.0-1160.img }
menuentry 'Linux 957' { linuxefi /vmlinuz-3.10.0-957 root=/dev/mapper/c-root ro
 initrdefi /initramfs-3.10.0-957.img }
"""
RHEL_7_FILES = {
    f"/boot/{name}": "x"
    for version in ("1160", "957")
    for name in (f"vmlinuz-3.10.0-{version}", f"initramfs-3.10.0-{version}.img")
}


def read(root: Path, files: Mapping[str, str | bytes]) -> BootEntries:
    return read_boot_entries(write_system(root, files), "x86_64")


def ids(found: BootEntries) -> list[str]:
    return [entry.id for entry in found.entries]


def default_of(found: BootEntries) -> str:
    assert found.default is not None, found.reason
    return found.default.id


@pytest.mark.parametrize(
    "directory", ["boot/efi/EFI/centos", "efi/EFI/redhat", "boot/EFI/almalinux"]
)
def test_a_vendors_directory_on_the_esp(tmp_path: Path, directory: str) -> None:
    """RHEL 7 and its kin on EFI: the menu and the environment block are there."""
    files = {
        f"/{directory}/grub.cfg": RHEL_7,
        f"/{directory}/grubenv": grubenv(saved_entry="Linux 957"),
        **RHEL_7_FILES,
    }
    if directory.startswith("efi"):
        # An ESP in a place of its own: paths are those of another file system.
        files = {
            name.replace("/boot/v", "/v").replace("/boot/i", "/i"): t for name, t in files.items()
        }
    found = read(tmp_path, files)
    assert found.problems == []
    assert default_of(found) == "Linux 957"
    assert found.reason == f"default=Linux 957 in /{directory}/grub.cfg"
    assert found.default is not None
    assert found.default.cmdline == "root=/dev/mapper/c-root ro"
    assert found.default.missing == ()


def test_kernelopts_and_tuned(tmp_path: Path) -> None:
    """RHEL 8 on EFI: the words of the entries are in the environment block."""
    options = "options $kernelopts $tuned_params\n"
    files = {
        "/boot/efi/EFI/redhat/grub.cfg": FEDORA_GRUB,
        "/boot/efi/EFI/redhat/grubenv": grubenv(
            saved_entry="m-4.18.0-80", kernelopts="root=/dev/vda1 ro", tuned_params="skew_tick=1",
            tuned_initrd="",
        ),
        "/boot/loader/entries/m-0-rescue.conf": f"title R\nlinux /boot/vmlinuz\n{options}",
        "/boot/loader/entries/m-4.18.0-80.conf": (
            f"title RHEL 8\nlinux /boot/vmlinuz\ninitrd /boot/initrd $tuned_initrd\n{options}"
        ),
        "/boot/vmlinuz": "k",
        "/boot/initrd": "i",
    }  # fmt: skip
    found = read(tmp_path, files)
    assert found.problems == []
    assert (default_of(found), ids(found)) == ("m-4.18.0-80", ["m-4.18.0-80", "m-0-rescue"])
    assert [entry.cmdline for entry in found.entries] == ["root=/dev/vda1 ro skew_tick=1"] * 2
    assert found.entries[0].initrds == (str(tmp_path / "boot/initrd"),)
    assert found.entries[0].missing == ()


def test_an_environment_that_nobody_loads(tmp_path: Path) -> None:
    """No ``$kernelopts`` becomes a command line: what is not set has no words."""
    files = {
        "/boot/efi/EFI/redhat/grub.cfg": "blscfg",
        "/boot/loader/entries/a.conf": "title A\nlinux /boot/k\noptions ro $kernelopts quiet\n",
        "/boot/k": "k",
    }
    (entry,) = read(tmp_path, files).entries
    assert entry.cmdline == "ro quiet"


def test_variables_of_an_entry_that_no_grub_reads(tmp_path: Path) -> None:
    files = {
        "/boot/loader/entries/a.conf": "linux /boot/k\noptions ro $kernelopts\n",
        "/boot/loader/entries/b.conf": "linux /boot/k\ninitrd /boot/i ${tuned_initrd}\n",
        "/boot/loader/entries/c.conf": "linux /boot/k\noptions price=5$\n",
        "/boot/k": "k",
    }
    found = {entry.id: entry.obstacle for entry in read(tmp_path, files).entries}
    assert found["a.conf"].startswith("$kernelopts in it is for GRUB")
    assert found["b.conf"].startswith("${tuned_initrd} in it is for GRUB")
    assert found["c.conf"] == ""


def test_a_fallback_is_told_and_not_taken(tmp_path: Path) -> None:
    menu = "fallback=1\nmenuentry a { linux /boot/gone }\nmenuentry b { linux /boot/k }\n"
    found = read(tmp_path, {"/boot/grub/grub.cfg": menu, "/boot/k": "k"})
    assert default_of(found) == "a"
    assert found.reason == "default=0 in /boot/grub/grub.cfg; its fallback, '1', is not taken"
    whole = read(tmp_path, {"/boot/gone": "k"})
    assert whole.reason == "default=0 in /boot/grub/grub.cfg"


STUB = "search.fs_uuid 1-2 root\nset prefix=($root)'{prefix}'\nconfigfile $prefix/grub.cfg\n"


@pytest.mark.parametrize("prefix", ["/boot/grub", "/grub"])
def test_a_stub_on_the_esp_is_no_menu_of_its_own(tmp_path: Path, prefix: str) -> None:
    files = {
        "/boot/efi/EFI/debian/grub.cfg": STUB.format(prefix=prefix),
        "/boot/efi/EFI/BOOT/grub.cfg": STUB.format(prefix=prefix) + "\n",
        "/boot/grub/grub.cfg": "menuentry x { linux /boot/k }",
        "/boot/k": "k",
        "/sys/firmware/efi/x": "",
    }
    found = read(tmp_path, files)
    assert (ids(found), found.problems) == (["x"], [])
    assert found.entries[0].where == "/boot/grub/grub.cfg, line 1"
    assert found.reason == "default=0 in /boot/efi/EFI/debian/grub.cfg"


def test_the_esp_goes_first_on_efi_only(tmp_path: Path) -> None:
    root = write_system(tmp_path, {"/boot/grub2/grub.cfg": "", "/boot/efi/EFI/x/grub.cfg": ""})
    assert grub_configs(BootTree(root))[0] == "/boot/grub2/grub.cfg"
    write_system(tmp_path, {"/sys/firmware/efi/x": ""})
    assert grub_configs(BootTree(root))[0] == "/boot/efi/EFI/x/grub.cfg"


def test_a_configuration_without_a_menu_is_passed_over(tmp_path: Path) -> None:
    files = {"/boot/grub/grub.cfg": "set a=1", "/grub2/grub.cfg": "menuentry x { linux /k }"}
    found = read(tmp_path, files)
    assert ids(found) == ["x"]
    assert found.reason == "default=0 in /grub2/grub.cfg"
    empty = read(tmp_path / "empty", {"/boot/grub/grub.cfg": "set a=1"})
    assert empty.reason == "default=0 in /boot/grub/grub.cfg: the menu is empty"


PARTITION = {
    "/boot/grub2/grub.cfg": "if [ -d /aem/ ]; then\nmenuentry AEM { linux /vmlinuz aem }\nfi\n"
    "if [ -f /flag ]; then v=1; fi\nmenuentry Plain { linux /vmlinuz v=$v }\n"
    "source /grub2/more.cfg\nsource $prefix/own.cfg\n",
    "/boot/grub2/more.cfg": "menuentry More { linux /vmlinuz more }",
    "/boot/grub2/own.cfg": "menuentry Own { linux /vmlinuz own }",
    "/boot/vmlinuz": "k",
    "/boot/flag": "",
    "/boot/aem/x": "",
}


@pytest.mark.parametrize("is_mounted", [True, False])
def test_paths_of_a_boot_partition(tmp_path: Path, is_mounted: bool) -> None:
    """All paths of a script are those of the file system that it is on."""
    if is_mounted:
        write_mounts(tmp_path, [Mount("/", "/dev/sda2"), Mount("/boot", "/dev/sda1")])
    found = read(tmp_path, PARTITION)
    assert (ids(found), found.problems) == (["AEM", "Plain", "More", "Own"], [])
    assert [entry.cmdline for entry in found.entries] == ["aem", "v=1", "more", "own"]
    assert {entry.kernel for entry in found.entries} == {str(tmp_path / "boot/vmlinuz")}


def test_how_grub_names_a_file(tmp_path: Path) -> None:
    paths = PartitionPaths(BootTree(tmp_path), "/boot/grub/grub.cfg")
    assert paths.reference("/boot/grub/x").path == "/boot/grub/x"
    mounts = [
        Mounted("/", volume=Volume("sda2")),
        Mounted("/boot", volume=Volume("sda1")),
        Mounted("/boot/efi", volume=Volume("sda3")),
    ]
    table = MountTable(tuple(mounts))
    apart = PartitionPaths(BootTree(tmp_path), "/boot/grub/grub.cfg", table)
    assert apart.reference("/boot/grub/x") == FileReference(Device(), "/grub/x")
    assert apart.reference("/boot").path == "/"
    esp = PartitionPaths(BootTree(tmp_path), "/boot/efi/EFI/x/grub.cfg", table)
    assert esp.reference("/boot/efi/EFI/x/grub.cfg").path == "/EFI/x/grub.cfg"
    assert apart.has(Device()) is True
    assert apart.has(Device("hd0")) is None


@pytest.mark.parametrize("device", ["(hd0,2)", "'(hd0,msdos2)'", "hd0,gpt2"])
def test_a_root_in_parentheses(tmp_path: Path, device: str) -> None:
    files = {
        "/boot/grub/grub.cfg": f"set root={device}\nmenuentry a {{ linux /boot/k }}\n"
        "menuentry b { linux ($root)/boot/k }\n",
        "/boot/k": "k",
        "/etc/fstab": "/dev/sda2 / ext4 rw 0 0\n",
    }
    found = read(tmp_path, files)
    assert [(entry.kernel, entry.missing) for entry in found.entries] == [
        (str(tmp_path / "boot/k"), ())
    ] * 2


def test_a_resolver_that_knows_file_systems(tmp_path: Path) -> None:
    """os-prober's entry for another disk: its kernel is not this system's of the same name."""

    class Mounts(PartitionPaths):
        def find(self, reference: FileReference) -> str | Absent:
            search = reference.device.search
            if search is not None and search.value != "aaaa-1":
                return Absent(f"{reference.device} is not mounted", certain=False)
            return super().find(reference)

    menu = "".join(
        f"menuentry {name} {{\n search --fs-uuid --set=root {uuid}\n linux /boot/k {uuid}\n}}\n"
        for name, uuid in (("This", "aaaa-1"), ("Other", "bbbb-2"))
    )
    root = write_system(tmp_path, {"/boot/grub/grub.cfg": menu, "/boot/k": "k"})
    config = GrubConfig(BootTree(root), "x86_64", Mounts)
    reading = config.read()
    assert reading is not None
    this, other = map(config.located, reading.menu.entries())
    assert (this.kernel, this.missing) == (str(root / "boot/k"), ())
    assert [str(file) for file in other.missing] == [
        "/boot/k: the file system with fs-uuid bbbb-2 is not mounted"
    ]


def test_a_directory_is_no_kernel(tmp_path: Path) -> None:
    files = {
        "/boot/grub2/grub.cfg": "menuentry a { linux (00-01) }\nmenuentry b { linux /boot }\n"
        "menuentry c { linux boot/k }\n",
        "/boot/k": "k",
    }
    a, b, c = read(tmp_path, files).entries[:3]
    assert [str(file) for file in a.missing] == ["(00-01): it names no file"]
    assert [str(file) for file in b.missing] == ["/boot: it is a directory"]
    assert [str(file) for file in c.missing] == ["boot/k: it names no file"]


def test_files_of_a_directory_by_pattern(tmp_path: Path) -> None:
    """As VyOS has it."""
    loop = "for f in ${%s}/%s/*.cfg; do source ${f}; done\n"
    files = {
        "/boot/grub/grub.cfg": "insmod regexp\nset default=0\n" + loop % ("prefix", "grub.cfg.d"),
        "/boot/grub/grub.cfg.d/40-menu.cfg": loop % ("config_directory", "versions"),
        "/boot/grub/grub.cfg.d/versions/one.cfg": 'menuentry "One" { linux /boot/One/k boot=live }',
        "/boot/One/k": "k",
    }
    found = read(tmp_path, files)
    assert (default_of(found), found.problems) == ("One", [])
    assert found.entries[0].kernel == str(tmp_path / "boot/One/k")
    (tmp_path / "boot/grub/grub.cfg.d/40-menu.cfg").unlink()
    assert "cannot read /boot/grub/grub.cfg.d/*.cfg" in read(tmp_path, {}).problems[0].replace(
        "(the file system of grub.cfg)", ""
    )


def test_ukis_in_the_menu(tmp_path: Path) -> None:
    uki = build_uki(
        build_bzimage(KernelSpec(payload_size=4096)),
        (".cmdline", b"root=/dev/vda2"),
        (".osrel", b'PRETTY_NAME="Arch Linux"\n'),
    )
    files: dict[str, str | bytes] = {
        "/boot/grub/grub.cfg": "insmod blsuki\nuki\nmenuentry 'Firmware' { fwsetup }\n",
        "/boot/EFI/Linux/arch-linux.efi": uki,
        "/boot/x.efi": uki,
    }
    found = read(tmp_path, files)
    # It is listed once, as GRUB starts it.
    assert (default_of(found), ids(found)) == ("arch-linux.efi", ["arch-linux.efi"])
    assert found.default is not None
    assert (found.default.title, found.default.cmdline) == ("Arch Linux", "root=/dev/vda2")
    files["/boot/grub/grub.cfg"] = (
        "menuentry a { chainloader /x.efi }\nmenuentry b { chainloader /grub/grub.cfg }\n"
    )
    chained = read(tmp_path, files)
    assert chained.entries[-1].kernel == str(tmp_path / "boot/x.efi")
    assert default_of(chained) == "a"
    files["/boot/grub/grub.cfg"] = "default=b\n" + str(files["/boot/grub/grub.cfg"])
    assert (
        "'b', which chainloads /grub/grub.cfg and is no Linux kernel"
        in read(tmp_path, files).reason
    )


def test_what_may_not_be_read_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_system(
        tmp_path,
        {"/boot/grub/grub.cfg": "source /boot/x\nmenuentry a { linux /k }", "/boot/x": "default=0"},
    )
    text = boot_tree.BootTree.text

    def refuse(self: BootTree, path: str) -> str | None:
        if path == "/boot/x":
            raise PermissionError(13, "Permission denied", path)
        return text(self, path)

    monkeypatch.setattr(boot_tree.BootTree, "text", refuse)
    found = read_boot_entries(root, "x86_64")
    assert found.default is None
    assert found.problems == ["/boot/grub/grub.cfg, line 1: cannot read /boot/x: Permission denied"]
    assert "its lines cannot be counted" in found.reason


def load_option(path: str) -> bytes:
    """Return an EFI variable ``Boot####``: a file path behind a description."""
    name = (path + "\0").encode("utf-16-le")
    node = b"\4\4" + (4 + len(name)).to_bytes(2, "little") + name + b"\x7f\xff\4\0"
    head = b"\1\0\0\0" + len(node).to_bytes(2, "little") + "Linux\0".encode("utf-16-le")
    return b"\7\0\0\0" + head + node


def test_two_vendors(tmp_path: Path) -> None:
    """Which of their GRUBs starts, the firmware tells; where it does not, that is told."""
    stub = "search.fs_uuid {} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    files: dict[str, str | bytes] = {
        "/etc/fstab": "UUID=11-a / ext4 defaults 0 1\nUUID=22-b /boot/efi vfat defaults 0 1\n",
        "/boot/efi/EFI/debian/grub.cfg": stub.format("11-a"),
        "/boot/efi/EFI/BOOT/grub.cfg": stub.format("11-a"),
        "/boot/grub/grub.cfg": "menuentry debian { linux /k }",
        "/k": "k",
    }
    assert (default_of(found := read(tmp_path, files)), found.problems) == ("debian", [])
    files["/boot/efi/EFI/fedora/grub.cfg"] = "menuentry fedora { linux /k }"
    told = [
        "/boot/efi/EFI/fedora/grub.cfg is another GRUB's, and is not asked: which one starts, only "
        "the firmware knows"
    ]
    assert (default_of(found := read(tmp_path, files)), found.problems) == ("debian", told)
    variables = "/sys/firmware/efi/efivars/{}-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    files[variables.format("BootCurrent")] = b"\6\0\0\0\x0a\0"
    files[variables.format("Boot000A")] = load_option(r"\EFI\fedora\shimx64.efi")
    assert default_of(read(tmp_path, files)) == "fedora"
    files[variables.format("Boot000A")] = load_option(r"\efi\debian\SHIMX64.EFI")
    assert (default_of(found := read(tmp_path, files)), found.problems) == ("debian", told)


PLATFORM = "menuentry x { linux /k $grub_platform $grub_cpu }"


@pytest.mark.parametrize(
    ("arch", "file", "expected"),
    [
        ("aarch64", "/x", "efi arm64"),
        ("x86_64", "/sys/firmware/efi/x", "efi x86_64"),
        ("x86_64", "/sys/firmware/acpi/x", "pc i386"),
        ("x86_64", "/boot/grub/i386-pc/normal.mod", "pc i386"),
        ("x86_64", "/boot/grub2/x86_64-efi/normal.mod", "efi x86_64"),
        ("x86_64", "/boot/efi/EFI/qubes/grubx64.efi", "efi x86_64"),
    ],
)
def test_the_platform(tmp_path: Path, arch: str, file: str, expected: str) -> None:
    files = {"/boot/grub/grub.cfg": PLATFORM, "/k": "k", file: ""}
    found = read_boot_entries(write_system(tmp_path, files), arch)
    assert (found.entries[0].cmdline, found.entries[0].obstacle) == (expected, "")


@pytest.mark.parametrize("modules", [(), ("i386-pc", "x86_64-efi")])
def test_a_platform_that_nothing_tells(tmp_path: Path, modules: tuple[str, ...]) -> None:
    """Below another root the firmware is not known: what hangs on it is not loaded."""
    choice = "if [ $grub_platform = efi ]; then default=b; fi\n"
    files = {f"/boot/grub/{name}/normal.mod": "" for name in modules}
    files |= {"/boot/grub/grub.cfg": PLATFORM, "/k": "k"}
    found = read(tmp_path, files)
    asked = "whether its firmware is a BIOS or EFI"
    assert found.default is None
    assert found.entries[0].obstacle == (
        f"nobody can tell before GRUB runs {asked} (/boot/grub/grub.cfg), and what it starts "
        "depends on it"
    )
    menu = "menuentry a { linux /k a }\nmenuentry b { linux /k b }\n"
    found = read(tmp_path, {"/boot/grub/grub.cfg": choice + menu})
    assert found.default is None
    assert f"nobody can tell before GRUB runs {asked}" in found.reason
    # Nothing is told where it makes no difference.
    text = "if [ $grub_platform = efi ]; then menuentry fw { fwsetup }\nfi\n"
    found = read(tmp_path, {"/boot/grub/grub.cfg": menu + text})
    assert (default_of(found), found.problems) == ("a", [])


def test_another_loader_is_not_asked_for_what_cannot_be_read(tmp_path: Path) -> None:
    files = {"/boot/extlinux/extlinux.conf": "default a\nlabel a\nlinux /boot/k\n", "/boot/k": "k"}
    (tmp_path / "boot/grub/grub.cfg").mkdir(parents=True)
    found = read(tmp_path, files)
    assert (ids(found), found.default) == (["a"], None)
    assert found.reason == "cannot read /boot/grub/grub.cfg: it is no regular file"
