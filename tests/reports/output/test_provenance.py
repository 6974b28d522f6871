from dataclasses import replace

from reports.output.provenance import hardware_lines
from tests.reports.records import ON_CPU, ON_GPUS, trial


def test_hardware_is_listed_by_kind_with_its_hosts() -> None:
    other_host = replace(ON_GPUS, host="node-b")
    one_thread = replace(ON_CPU, threads=1)
    kinds = [ON_GPUS, other_host, ON_GPUS, ON_CPU, one_thread, None]
    assert hardware_lines([trial("Con", number, 0.5, hardware=kind) for number, kind in enumerate(kinds)]) == [
        "3 jobs on 4 workers, each with 1 × NVIDIA H200, 4 threads of EPYC; hosts node-a, node-b",
        "1 job on 4 threads of EPYC; host node-a",
        "1 job on 1 thread of EPYC; host node-a",
    ]
