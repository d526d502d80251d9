"""Tables of structures: name, offset in bytes, and format or structure of each field.

Written by tools/generate_structures.py, from tools/structures.py.
"""

from pykexec.formats.structs import Field, Structure

SETUP_HEADER = Structure(
    123,
    Field("setup_sects", 0x000, "<B"),
    Field("root_flags", 0x001, "<H"),
    Field("syssize", 0x003, "<L"),
    Field("ram_size", 0x007, "<H"),
    Field("vid_mode", 0x009, "<H"),
    Field("root_dev", 0x00B, "<H"),
    Field("boot_flag", 0x00D, "<H"),
    Field("jump", 0x00F, "2s"),
    Field("header", 0x011, "4s"),
    Field("version", 0x015, "<H"),
    Field("realmode_swtch", 0x017, "<L"),
    Field("start_sys_seg", 0x01B, "<H"),
    Field("kernel_version", 0x01D, "<H"),
    Field("type_of_loader", 0x01F, "<B"),
    Field("loadflags", 0x020, "<B"),
    Field("setup_move_size", 0x021, "<H"),
    Field("code32_start", 0x023, "<L"),
    Field("ramdisk_image", 0x027, "<L"),
    Field("ramdisk_size", 0x02B, "<L"),
    Field("bootsect_kludge", 0x02F, "<L"),
    Field("heap_end_ptr", 0x033, "<H"),
    Field("ext_loader_ver", 0x035, "<B"),
    Field("ext_loader_type", 0x036, "<B"),
    Field("cmd_line_ptr", 0x037, "<L"),
    Field("initrd_addr_max", 0x03B, "<L"),
    Field("kernel_alignment", 0x03F, "<L"),
    Field("relocatable_kernel", 0x043, "<B"),
    Field("min_alignment", 0x044, "<B"),
    Field("xloadflags", 0x045, "<H"),
    Field("cmdline_size", 0x047, "<L"),
    Field("hardware_subarch", 0x04B, "<L"),
    Field("hardware_subarch_data", 0x04F, "<Q"),
    Field("payload_offset", 0x057, "<L"),
    Field("payload_length", 0x05B, "<L"),
    Field("setup_data", 0x05F, "<Q"),
    Field("pref_address", 0x067, "<Q"),
    Field("init_size", 0x06F, "<L"),
    Field("handover_offset", 0x073, "<L"),
    Field("kernel_info_offset", 0x077, "<L"),
)

IMAGE_HEADER = Structure(
    64,
    Field("code0", 0x000, "<L"),
    Field("code1", 0x004, "<L"),
    Field("text_offset", 0x008, "<Q"),
    Field("image_size", 0x010, "<Q"),
    Field("flags", 0x018, "<Q"),
    Field("version", 0x020, "<L"),
    Field("res1", 0x024, "<L"),
    Field("res2", 0x028, "<Q"),
    Field("old_magic", 0x030, "8s"),
    Field("magic", 0x038, "4s"),
    Field("res5", 0x03C, "<L"),
)

VMLINUX_EFI_HEADER = Structure(
    64,
    Field("signature", 0x000, "2s"),
    Field("kernel_entry", 0x008, "<Q"),
    Field("image_size", 0x010, "<Q"),
    Field("load_offset", 0x018, "<Q"),
    Field("magic", 0x038, "4s"),
    Field("pe_header", 0x03C, "<L"),
)

COFF_HEADER = Structure(
    24,
    Field("number_of_sections", 0x006, "<H"),
    Field("size_of_optional_header", 0x014, "<H"),
    Field("characteristics", 0x016, "<H"),
)

SECTION_HEADER = Structure(
    40,
    Field("name", 0x000, "8s"),
    Field("virtual_size", 0x008, "<L"),
    Field("virtual_address", 0x00C, "<L"),
    Field("size_of_raw_data", 0x010, "<L"),
    Field("pointer_to_raw_data", 0x014, "<L"),
)

UIMAGE_HEADER = Structure(
    64,
    Field("magic", 0x000, ">L"),
    Field("header_crc", 0x004, ">L"),
    Field("time", 0x008, ">L"),
    Field("size", 0x00C, ">L"),
    Field("load", 0x010, ">L"),
    Field("entry", 0x014, ">L"),
    Field("data_crc", 0x018, ">L"),
    Field("os", 0x01C, ">B"),
    Field("arch", 0x01D, ">B"),
    Field("type", 0x01E, ">B"),
    Field("compression", 0x01F, ">B"),
    Field("name", 0x020, "32s"),
)

BEOBOOT_HEADER = Structure(
    16,
    Field("magic", 0x000, "4s"),
    Field("arch", 0x004, "<B"),
    Field("flags", 0x005, "<B"),
    Field("cmdline_size", 0x006, "<H"),
    Field("kernel_size", 0x008, "<L"),
    Field("initrd_size", 0x00C, "<L"),
)
