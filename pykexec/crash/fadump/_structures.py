"""Tables of structures: name, offset in bytes, and format or structure of each field.

Written by tools/generate_structures.py, from tools/structures.py.
"""

from pykexec.formats.structs import Field, Structure

PT_REGS_LITTLE = Structure(
    352,
    Field("gpr", 0x000, "<Q", 32),
    Field("nip", 0x100, "<Q"),
    Field("msr", 0x108, "<Q"),
    Field("orig_gpr3", 0x110, "<Q"),
    Field("ctr", 0x118, "<Q"),
    Field("link", 0x120, "<Q"),
    Field("xer", 0x128, "<Q"),
    Field("ccr", 0x130, "<Q"),
    Field("softe", 0x138, "<Q"),
    Field("trap", 0x140, "<Q"),
    Field("dar", 0x148, "<Q"),
    Field("dsisr", 0x150, "<Q"),
    Field("result", 0x158, "<Q"),
)

OLD_HEADER_LITTLE = Structure(
    24,
    Field("magic_number", 0x000, "8s"),
    Field("elfcorehdr_addr", 0x008, "<Q"),
    Field("crashing_cpu", 0x010, "<L"),
)

HEADER_LITTLE = Structure(
    40,
    Field("magic_number", 0x000, "8s"),
    Field("version", 0x008, "<L"),
    Field("crashing_cpu", 0x00C, "<L"),
    Field("vmcoreinfo_raddr", 0x010, "<Q"),
    Field("vmcoreinfo_size", 0x018, "<Q"),
    Field("pt_regs_sz", 0x020, "<L"),
    Field("cpu_mask_sz", 0x024, "<L"),
)

UNMERGED_HEADER_LITTLE = Structure(
    56,
    Field("elfcorehdr_addr", 0x010, "<Q"),
    Field("elfcorehdr_size", 0x018, "<Q"),
    Field("vmcoreinfo_raddr", 0x020, "<Q"),
    Field("vmcoreinfo_size", 0x028, "<Q"),
    Field("pt_regs_sz", 0x030, "<L"),
    Field("cpu_mask_sz", 0x034, "<L"),
)

OPAL_METADATA_LITTLE = Structure(
    16,
    Field("version", 0x000, ">B"),
    Field("region_cnt", 0x004, "<H"),
    Field("registered_regions", 0x006, "<H"),
    Field("fadumphdr_addr", 0x008, "<Q"),
)

OPAL_REGION_LITTLE = Structure(
    24,
    Field("src", 0x000, "<Q"),
    Field("dest", 0x008, "<Q"),
    Field("size", 0x010, "<Q"),
)

PT_REGS_BIG = Structure(
    352,
    Field("gpr", 0x000, ">Q", 32),
    Field("nip", 0x100, ">Q"),
    Field("msr", 0x108, ">Q"),
    Field("orig_gpr3", 0x110, ">Q"),
    Field("ctr", 0x118, ">Q"),
    Field("link", 0x120, ">Q"),
    Field("xer", 0x128, ">Q"),
    Field("ccr", 0x130, ">Q"),
    Field("softe", 0x138, ">Q"),
    Field("trap", 0x140, ">Q"),
    Field("dar", 0x148, ">Q"),
    Field("dsisr", 0x150, ">Q"),
    Field("result", 0x158, ">Q"),
)

OLD_HEADER_BIG = Structure(
    24,
    Field("magic_number", 0x000, "8s"),
    Field("elfcorehdr_addr", 0x008, ">Q"),
    Field("crashing_cpu", 0x010, ">L"),
)

HEADER_BIG = Structure(
    40,
    Field("magic_number", 0x000, "8s"),
    Field("version", 0x008, ">L"),
    Field("crashing_cpu", 0x00C, ">L"),
    Field("vmcoreinfo_raddr", 0x010, ">Q"),
    Field("vmcoreinfo_size", 0x018, ">Q"),
    Field("pt_regs_sz", 0x020, ">L"),
    Field("cpu_mask_sz", 0x024, ">L"),
)

UNMERGED_HEADER_BIG = Structure(
    56,
    Field("elfcorehdr_addr", 0x010, ">Q"),
    Field("elfcorehdr_size", 0x018, ">Q"),
    Field("vmcoreinfo_raddr", 0x020, ">Q"),
    Field("vmcoreinfo_size", 0x028, ">Q"),
    Field("pt_regs_sz", 0x030, ">L"),
    Field("cpu_mask_sz", 0x034, ">L"),
)

OPAL_METADATA_BIG = Structure(
    16,
    Field("version", 0x000, ">B"),
    Field("region_cnt", 0x004, ">H"),
    Field("registered_regions", 0x006, ">H"),
    Field("fadumphdr_addr", 0x008, ">Q"),
)

OPAL_REGION_BIG = Structure(
    24,
    Field("src", 0x000, ">Q"),
    Field("dest", 0x008, ">Q"),
    Field("size", 0x010, ">Q"),
)

DUMP_HEADER = Structure(
    40,
    Field("dump_format_version", 0x000, ">L"),
    Field("dump_num_sections", 0x004, ">H"),
    Field("dump_status_flag", 0x006, ">H"),
    Field("offset_first_dump_section", 0x008, ">L"),
    Field("dd_block_size", 0x00C, ">L"),
    Field("dd_block_offset", 0x010, ">Q"),
    Field("dd_num_blocks", 0x018, ">Q"),
    Field("dd_offset_disk_path", 0x020, ">L"),
    Field("max_time_auto", 0x024, ">L"),
)

DUMP_SECTION = Structure(
    40,
    Field("request_flag", 0x000, ">L"),
    Field("source_data_type", 0x004, ">H"),
    Field("error_flags", 0x006, ">H"),
    Field("source_address", 0x008, ">Q"),
    Field("source_len", 0x010, ">Q"),
    Field("bytes_dumped", 0x018, ">Q"),
    Field("destination_address", 0x020, ">Q"),
)

REG_SAVE_AREA = Structure(
    16,
    Field("magic_number", 0x000, "8s"),
    Field("version", 0x008, ">L"),
    Field("num_cpu_offset", 0x00C, ">L"),
)

REG_COUNT = Structure(
    4,
    Field("num_cpus", 0x000, ">L"),
)

MPIPL = Structure(
    24,
    Field("version", 0x000, ">B"),
    Field("crashing_pir", 0x008, ">L"),
    Field("cpu_data_version", 0x00C, ">L"),
    Field("cpu_data_size", 0x010, ">L"),
    Field("region_cnt", 0x014, ">L"),
)

HDAT_THREAD = Structure(
    24,
    Field("pir", 0x000, ">L"),
    Field("core_state", 0x004, ">B"),
    Field("offset", 0x008, ">L"),
    Field("ecnt", 0x00C, ">L"),
    Field("esize", 0x010, ">L"),
    Field("eactsz", 0x014, ">L"),
)
