"""What names one machine is masked, and the rest stays as it was."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.formats.device_tree import (
    DeviceTree,
    Node,
    build_device_tree,
    parse_device_tree,
)
from pykexec.machine.left_records import BOOT_ID
from pykexec.machine.record import record
from pykexec.machine.redact import Redactions, mask_text, redact
from pykexec.machine.word_masks import Kind
from pykexec.render.redactions import redactions_text
from tests.builders.machines import build_machine

MACHINES = Path(__file__).parents[2] / "data" / "machines"
UUID = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
HIDDEN = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"root=UUID={UUID} ro quiet", f"root=UUID={HIDDEN} ro quiet"),
        ("root=PARTUUID=1b4e28ba-02 ro", "root=PARTUUID=xxxxxxxx-xx ro"),
        ("root=UUID=0A1B-2C3D", "root=UUID=xxxx-xxxx"),
        ("rootpw=zz inst.rootpw=zz adminpw=zz", "rootpw=xx inst.rootpw=xx adminpw=xx"),
        ("netcfg/wireless_wpa=abc sig=abc", "netcfg/wireless_wpa=xxx sig=xxx"),
        (f"rd.luks.name={UUID}=crypt", f"rd.luks.name={HIDDEN}=crypt"),
        ("BOOTIF=01-52-54-00-12-34-56 ip=dhcp", "BOOTIF=xx-xx-xx-xx-xx-xx-xx ip=dhcp"),
        ("ifname=net0:52:54:00:ab:cd:ef", "ifname=net0:xx:xx:xx:xx:xx:xx"),
        ("systemd.machine_id=0123456789abcdef0123456789ABCDEF", f"systemd.machine_id={'x' * 32}"),
        ("androidboot.serialno=HT4B_2 quiet", "androidboot.serialno=xxxx_x quiet"),
        ('root_password="two words" ro', 'root_password="xxx xxxxx" ro'),
        ("my.token=abc", "my.token=xxx"),
        ("luks.passphrase=hunter2! quiet", "luks.passphrase=xxxxxxxx quiet"),
        ("ipmi_pass=a psk=b api_key=c pw=d key=1", "ipmi_pass=x psk=x api_key=x pw=x key=x"),
        ('"password=a b" ro', '"password=x x" ro'),
        ('rd.iscsi.password="a b', 'rd.iscsi.password="x x'),
        ("nfsroot=u:secretpw@host:/exp,tcp", "nfsroot=xxxxxxxxxx@xxxx:/exp,tcp"),
        ("root=nfs4:srv.example:/exp,ro", "root=nfs4:xxx.xxxxxxx:/exp,ro"),
        ("nfsroot=srv:/exp", "nfsroot=xxx:/exp"),
        (
            "netroot=iscsi:user:pass3@box:6:3260:0:iqn.2009-02.com.a:t rd.iscsi.username=me",
            "netroot=iscsi:xxxxxxxxxx@xxx:6:3260:0:xxx.xxxx-xx.xxx.x:x rd.iscsi.username=xx",
        ),
        ("netroot=iscsi:10.0.0.1::3260:0:t", "netroot=iscsi:xx.x.x.x::3260:0:t"),
        (
            "root=live:https://u:p/w@h.ex/img?token=abc",
            "root=live:https://xxxxx@x.xx/img?token=xxx",
        ),
        ("root=cifs://srv/share,ro", "root=cifs://xxx/share,ro"),
        ("rootflags=user=foo,pass=b,c,vers=3", "rootflags=user=xxx,pass=xxx,vers=3"),
        (
            "//srv/x /m cifs username=me,domain=D",
            "//xxx/x /m cifs username=xx,domain=x",
        ),
        ("me@box:/x /m fuse.sshfs rw 0 0", "xx@xxx:/x /m fuse.sshfs rw 0 0"),
        (
            "ip=10.0.0.5::10.0.0.1:255.255.255.0:box:eth0:none",
            "ip=xx.x.x.x::xx.x.x.x:xxx.xxx.xxx.x:xxx:eth0:none",
        ),
        (
            "ip=[2001:db8::1]::[fe80::1]:64:box:eth0",
            "ip=[xxxx:xxx::x]::[xxxx::x]:64:xxx:eth0",
        ),
        (
            "nameserver=2001:db8::53 hostname=box",
            "nameserver=xxxx:xxx::xx hostname=xxx",
        ),
        ("netconsole=@10.0.0.1/eth0", "netconsole=@xx.x.x.x/eth0"),
        (
            "systemd.set_credential=a:b rd.luks.key=/k",
            "systemd.set_credential=xxx rd.luks.key=xx",
        ),
        (
            "root=/dev/disk/by-id/ata-WD_WX11A-part2 ro",
            "root=/dev/disk/by-id/xxx-xx_xxxxx-xxxxx ro",
        ),
        # dracut.cmdline(7)
        ("rd.iscsi.target.name=t1 cifsuser=bob", "rd.iscsi.target.name=xx cifsuser=xxx"),
        ("root=iscsi:u:p:ru:rp@srv:6:3260::t", "root=iscsi:xxxxxxxxx@xxx:6:3260::t"),
        ("root=cifs://bob:pw@srv:/share", "root=cifs://xxxxxx@xxx:/share"),
        (
            "rd.nvmf.hostid=ab rd.nvmf.discover=tcp,h.ex,,4420",
            "rd.nvmf.hostid=xx rd.nvmf.discover=xxx,x.xx,,xxxx",
        ),
        ("rd.zfcp=0.0.4000,0x5005,0x5022", "rd.zfcp=x.x.xxxx,xxxxxx,xxxxxx"),
        ("rd.md.uuid=3386ff85:f5012621:4a435f06", "rd.md.uuid=xxxxxxxx:xxxxxxxx:xxxxxxxx"),
        ("rd.luks.uuid=luks-1b4e28ba", "rd.luks.uuid=xxxx-xxxxxxxx"),
        ("nbdroot=box,root", "nbdroot=xxx,xxxx"),
        # systemd
        (
            "systemd.setenv=A=b systemd.random-seed=AA==",
            "systemd.setenv=xxx systemd.random-seed=xxxx",
        ),
        # What sets up machines: cloud-init, Ignition, anaconda, debian-installer.
        (
            "ds=nocloud;h=box;i=iid-1;s=http://u:p@h.ex/",
            "ds=nocloud;h=xxx;i=xxx-x;s=http://xxx@x.xx/",
        ),
        (
            "network-config=YWJj ignition.config.url=https://s.ex/c",
            "network-config=xxxx ignition.config.url=https://x.xx/c",
        ),
        (
            "inst.vncconnect=box:55 inst.proxy=http://u:p@h",
            "inst.vncconnect=xxx:xx inst.proxy=xxxx://xxx@x",
        ),
        ("url=box.ex/preseed proxy=box:3128", "url=xxx.xx/preseed proxy=xxx:xxxx"),
        ("bcm2709.serial=0x5a spl.spl_hostid=0x0b", "bcm2709.serial=xxxx spl.spl_hostid=xxxx"),
        # udev's names
        (
            "root=/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-iqn.2009:x",
            "root=/dev/disk/by-path/ip-xx.x.x.x:3260-iscsi-xxx.xxxx:x",
        ),
        (
            "root=/dev/disk/by-uuid/0A1B-2C3D resume=/dev/disk/by-partuuid/1b4e28ba-02",
            "root=/dev/disk/by-uuid/xxxx-xxxx resume=/dev/disk/by-partuuid/xxxxxxxx-xx",
        ),
        # Mounts
        ("mon1:6789,mon2:6789:/ /m ceph rw,name=a", "xxxx:6789,xxxx:6789:/ /m ceph rw,name=a"),
        ("srv:vol /g fuse.glusterfs rw", "xxx:vol /g fuse.glusterfs rw"),
        ("/dev/sdb1 /home/alice ext4 rw", "/dev/sdb1 /home/xxxxx ext4 rw"),
        ("/dev/sdc1 /run/media/alice/USB vfat rw", "/dev/sdc1 /run/media/xxxxx/USB vfat rw"),
        # What plans are made from, and what says nothing of one machine.
        (
            "spec_store_bypass_disable=on arm-smmu.disable_bypass=1 module.sig_enforce=1 "
            "iommu.passthrough=0 hugepages=0:512,1:512 isolcpus=1,3:6 usbcore.quirks=0bda:8153:k",
            None,
        ),
        ("rd.znet=qeth,0.0.0600,0.0.0601,0.0.0602,layer2=1 inst.stage2=hd:LABEL=F", None),
        (
            "console=ttyS0,115200n8 earlycon=pl011,0x9000000 crashkernel=256M@16M mem=0x1234567",
            None,
        ),
        ("rootflags=subvol=@ root=/dev/nvme0n1p2 crashkernel=64M-2G:128M@16M,2G-:256M", None),
        ("/dev/sda2 / btrfs rw,subvolid=256,subvol=/@home 0 0", None),
        ("ip=dhcp vconsole.keymap=de pci=0000:00:1f.2 memmap=64M@0x100000,1G$4G", None),
        ("root=/dev/mapper/vg-root BOOT_IMAGE=/boot/vmlinuz-6.12.57+deb13-amd64", None),
    ],
)
def test_texts(text: str, masked: str | None) -> None:
    found = mask_text(text.encode())
    assert found.decode() == (text if masked is None else masked)
    assert len(found) == len(text)


@pytest.mark.parametrize("text", [b"a" * (1 << 20), b"a:" * 8000, (b"b." * 250 + b" ") * 30])
def test_long_texts_take_no_time(text: bytes) -> None:
    started = time.process_time()
    assert len(mask_text(text)) == len(text)
    assert time.process_time() - started < 2


def test_letters_beyond_ascii_are_masked_byte_by_byte() -> None:
    assert mask_text("psk=p\u00e4ss host=b\u00f6x".encode()) == b"psk=xxxxx host=xxxx"


def test_what_was_masked_and_what_was_left_is_told(tmp_path: Path) -> None:
    build_machine(tmp_path / "machine", cmdline=b"ro psk=a psk=b quiet nfsroot=u:p@h:/x UUID=1-2")
    report = Redactions()
    record(tmp_path / "machine", tmp_path / "x.tar", redacted=True, report=report)
    assert report.masked["proc/cmdline"] == {Kind.SECRET: 3, Kind.HOST: 1, Kind.SERIAL: 1}
    assert report.left["proc/cmdline"] == ("ro", "quiet")
    assert "proc/iomem" in report.untouched
    text = redactions_text({"proc/cmdline": {"secret": 3}}, report.left, 1)
    assert text.splitlines() == [
        "masked:  proc/cmdline: secret (3)",
        "left:    proc/cmdline: ro quiet",
        "left:    1 file as it is; look at the record before it is given away",
    ]


def test_which_files_are_texts() -> None:
    data = f"UUID={UUID}".encode()
    masked = f"UUID={HIDDEN}".encode()
    for name in ("proc/cmdline", "proc/mounts", "proc/sys/kernel/random/boot_id"):
        assert redact(name, data) == masked
    for name in ("proc/iomem", "proc/kallsyms", "machine.json"):
        assert redact(name, data) == data


def test_the_record_of_a_crash_load() -> None:
    value = {
        "cmdline": f'root=UUID={UUID} password="two words"',
        "size": 12,
        "files": [{"sha256": "ab" * 32}, None],
    }
    masked = json.loads(redact("run/pykexec/crash.json", json.dumps(value).encode()))
    assert masked == {
        "cmdline": f'root=UUID={HIDDEN} password="xxx xxxxx"',
        "size": 12,
        "files": [{"sha256": "ab" * 32}, None],
    }
    assert redact("run/pykexec/crash.json", b"no JSON token=abc") == b"no JSON token=xxx"


SERIALS = (
    ("serial-number", b"10000000abcd\0", b"xxxxxxxxxxxx\0"),
    ("linux,serial", struct.pack(">Q", 77), bytes(8)),
    ("local-mac-address", b"\x52\x54\0\1\2\3", bytes(6)),
    ("system-id", b"IBM,0212\0", b"xxx,xxxx\0"),
    ("vm,uuid", UUID.encode() + b"\0", HIDDEN.encode() + b"\0"),
)
KEPT = (
    ("compatible", b"linux,dummy-virt\0"),
    ("model", b"X-Gene 1\0"),
    ("serial-console", b"x\0"),
    ("phandle", b"\0\0\0\1"),
)


@pytest.mark.parametrize(("name", "value", "masked"), SERIALS)
def test_properties(name: str, value: bytes, masked: bytes) -> None:
    chosen = Node("chosen", (("bootargs", f"root=UUID={UUID}\0".encode()),))
    aliases = Node("aliases", (("serial", b"/uart@0\0"),))
    below = Node("ethernet@0", ((name, value), *KEPT))
    tree = DeviceTree(Node("", ((name, value), *KEPT), (chosen, aliases, below)))
    found = parse_device_tree(redact("sys/firmware/fdt", build_device_tree(tree)))
    assert found.root.properties == ((name, masked), *KEPT)
    assert found.root.children == (
        Node("chosen", (("bootargs", f"root=UUID={HIDDEN}\0".encode()),)),
        aliases,
        Node("ethernet@0", ((name, masked), *KEPT)),
    )
    for directory in ("sys/firmware/devicetree/base", "proc/device-tree"):
        assert redact(f"{directory}/{name}", value) == masked
        assert redact(f"{directory}/aliases/serial", b"/uart@0\0") == b"/uart@0\0"


def test_a_tree_with_nothing_to_mask_is_the_same_blob() -> None:
    blob = build_device_tree(DeviceTree(Node("", KEPT)))
    assert redact("sys/firmware/fdt", blob) is blob


def test_a_tree_that_cannot_be_read() -> None:
    with pytest.raises(MachineError, match="the device tree cannot be masked") as caught:
        redact("sys/firmware/fdt", b"no tree")
    assert caught.value.hint is not None


def test_disks_and_displays() -> None:
    name = "sys/firmware/edd/int13_dev80/mbr_signature"
    assert redact(name, b"0x1234abcd\n") == b"0x00000000\n"
    edid = bytearray(range(128))
    edid[54:72] = b"\0\0\0\xff\0SERIAL1234567"
    edid[72:90] = b"\0\0\0\xfc\0MODEL12345678"
    params = bytearray(b"\x55" * 4096)
    params[0x140:0x1C0] = edid
    found = redact("sys/kernel/boot_params/data", bytes(params))
    changed = {at for at in range(4096) if found[at] != params[at]}
    assert changed == {*range(0x14C, 0x150), *range(0x140 + 59, 0x140 + 72), *range(0x290, 0x2D0)}
    assert not any(found[at] for at in changed)


@pytest.mark.parametrize("path", sorted(MACHINES.iterdir()), ids=lambda path: path.name)
def test_a_guest_without_serial_numbers_stays_as_it_is(path: Path) -> None:
    for file in path.rglob("*"):
        name = str(file.relative_to(path))
        # Each boot has another, which older records do not have.
        if file.is_file() and name != BOOT_ID:
            data = file.read_bytes()
            assert redact(name, data) == data, name
