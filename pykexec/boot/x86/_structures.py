"""Tables of structures: name, offset in bytes, and format or structure of each field.

Written by tools/generate_structures.py, from tools/structures.py.
"""

from pykexec.formats.structs import Field, Structure

BOOT_E820_ENTRY = Structure(
    20,
    Field("addr", 0x000, "<Q"),
    Field("size", 0x008, "<Q"),
    Field("type", 0x010, "<L"),
)

EFI_INFO = Structure(
    32,
    Field("efi_loader_signature", 0x000, "4s"),
    Field("efi_systab", 0x004, "<L"),
    Field("efi_memdesc_size", 0x008, "<L"),
    Field("efi_memdesc_version", 0x00C, "<L"),
    Field("efi_memmap", 0x010, "<L"),
    Field("efi_memmap_size", 0x014, "<L"),
    Field("efi_systab_hi", 0x018, "<L"),
    Field("efi_memmap_hi", 0x01C, "<L"),
)

EDD_INFO = Structure(
    82,
    Field("device", 0x000, "<B"),
    Field("version", 0x001, "<B"),
    Field("interface_support", 0x002, "<H"),
    Field("legacy_max_cylinder", 0x004, "<H"),
    Field("legacy_max_head", 0x006, "<B"),
    Field("legacy_sectors_per_track", 0x007, "<B"),
    Field("params", 0x008, "74s"),
)

BOOT_PARAMS = Structure(
    4096,
    Field("screen_info", 0x000, "64s"),
    Field("acpi_rsdp_addr", 0x070, "<Q"),
    Field("ext_ramdisk_image", 0x0C0, "<L"),
    Field("ext_ramdisk_size", 0x0C4, "<L"),
    Field("ext_cmd_line_ptr", 0x0C8, "<L"),
    Field("efi_info", 0x1C0, EFI_INFO),
    Field("alt_mem_k", 0x1E0, "<L"),
    Field("e820_entries", 0x1E8, "<B"),
    Field("eddbuf_entries", 0x1E9, "<B"),
    Field("edd_mbr_sig_buf_entries", 0x1EA, "<B"),
    Field("secure_boot", 0x1EC, "<B"),
    Field("hdr", 0x1F1, "159s"),
    Field("edd_mbr_sig_buffer", 0x290, "<L", 16),
    Field("e820_table", 0x2D0, "2560s"),
    Field("eddbuf", 0xD00, EDD_INFO, 6),
)

SETUP_DATA_HEADER = Structure(
    16,
    Field("next", 0x000, "<Q"),
    Field("type", 0x008, "<L"),
    Field("len", 0x00C, "<L"),
)

IMA_SETUP_DATA = Structure(
    16,
    Field("addr", 0x000, "<Q"),
    Field("size", 0x008, "<Q"),
)

EFI_SETUP_DATA = Structure(
    96,
    Field("fw_vendor", 0x000, "<Q"),
    Field("runtime", 0x008, "<Q"),
    Field("tables", 0x010, "<Q"),
    Field("smbios", 0x018, "<Q"),
)

EFI_MEMORY_DESCRIPTOR = Structure(
    40,
    Field("type", 0x000, "<L"),
    Field("phys_addr", 0x008, "<Q"),
    Field("virt_addr", 0x010, "<Q"),
    Field("num_pages", 0x018, "<Q"),
    Field("attribute", 0x020, "<Q"),
)
