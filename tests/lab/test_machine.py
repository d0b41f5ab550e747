"""What is read of the kernel's files."""

from __future__ import annotations

from lab.machine import busy_ticks, cpu_ticks, status_mib


def test_the_kernels_files_are_read_whatever_a_program_is_called() -> None:
    stat = "42 (a) S 1 (b) R 1 1 1 0 -1 0 9 9 9 9 250 50 7 7 20 0 1 0 99 0 0"
    assert cpu_ticks(stat) == 300
    assert busy_ticks("cpu  100 1 20 5000 300 4 5 6 77 8\ncpu0 1 2 3") == 100 + 1 + 20 + 4 + 5 + 6
    assert status_mib("Name:\tx\nVmRSS:\t  2560 kB\nThreads:\t1\n", "VmRSS") == 2.5
