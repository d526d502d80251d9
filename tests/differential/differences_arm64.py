"""Every intended difference between the C tool's arm64 loads and pykexec's.

Each entry computes, for one case, what either tool is to say in the fields of
``tests.differential.tree_loads.told`` that it is about. A difference that is not here fails the
comparison, and so does one that is here and does not occur. docs/compatibility.md explains
each title to users.
"""

from __future__ import annotations

from tests.differential import differences_tree
from tests.differential.arm64 import Image
from tests.differential.differences import Difference, Expected, occurring
from tests.differential.tree_loads import Case


def _image_without_size(case: Case) -> Expected:
    image = Image.of(case.image)
    if image.sized:
        return {}
    end = image.text_offset + image.size_of_ours(case.image)
    ours = -(-end // case.page_size) * case.page_size - image.text_offset
    return {"kernel memory": (image.image_size, ours)}


REUSED = "A reused command line loses what was about the old files"
DIFFERENCES = (
    Difference("The command line is always that of the load", differences_tree.old_command_line),
    Difference(REUSED, differences_tree.reused_command_line),
    Difference("A property is as long as what it says", differences_tree.length),
    Difference("What was about the running kernel is removed", differences_tree.stale),
    Difference("Both seeds are renewed", differences_tree.seeds),
    Difference("The next kernel learns that kexec started it", differences_tree.booted_from_kexec),
    Difference("Any tree will do", differences_tree.made_chosen),
    Difference("A `--dtb` is completed", differences_tree.completed),
    Difference("An Image that tells no size gets room behind its end", _image_without_size),
    Difference("A signature behind an Image is not loaded", differences_tree.signed),
    Difference("IMA's measurement list is carried over", differences_tree.measured),
    Difference("Memory that was plugged in is in the dump", differences_tree.plugged),
    Difference("Neighbouring memory is one program header", differences_tree.seams),
    Difference("`--reuseinitrd` hands the first initrd on", differences_tree.kept_initrd),
)


def expected_differences(case: Case) -> dict[str, Expected]:
    """Return the differences that must occur in ``case``, by title."""
    return occurring(DIFFERENCES, case)
