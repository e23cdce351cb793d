"""The run times of the GPU jobs of five published clusters, in seconds, as tables.

Read from the vector figure `figure/cdf_job_duration_util.pdf` of AcmeTrace (Hu et al., "Characterization of Large
Language Model Development in the Datacenter", NSDI'24; github.com/InternLM/AcmeTrace, CC BY 4.0), which compares
its own clusters with Philly, Helios and PAI. The end of each table is an assumption where the figure does not show
it: the first point is at half of the first value, the last one at the longest known job.
"""

from __future__ import annotations

from typing import Final

from scheduler.workloads.spreads import Cdf


def _by_powers_of_two(percent: str, longest: float) -> Cdf:
    """`percent` at 1, 2, 4, ... seconds."""
    shares = [float(share) for share in percent.split()]
    values, shares = [0.5, *(2.0**k for k in range(len(shares)))], [0.0, *shares]
    if shares[-1] < 100:
        values, shares = [*values, longest], [*shares, 100.0]
    return Cdf(values=values, percent=shares)


DURATIONS: Final[dict[str, Cdf]] = {
    # Shanghai AI Laboratory, 2023: 663,813 GPU jobs.
    "seren": _by_powers_of_two(
        "2.18 2.78 5.62 11.76 23.38 31.71 37.12 48.91 65.63 79.21 88.03 92.94 95.99 97.53 98.44 99.19 99.64 99.83 "
        "99.93 99.98 100",
        longest=1_209_604,
    ),
    # Shanghai AI Laboratory, 2023: 19,907 GPU jobs. By its quantiles, since its figure was not read point by point;
    # the shortest is an assumption, the longest is in the trace's summary.
    "kalos": Cdf(
        values=[1, 23, 40, 125, 380, 1_546, 2_938, 13_714, 625_740], percent=[0, 10, 25, 50, 75, 90, 95, 99, 100]
    ),
    # Microsoft, 2017: 112,956 GPU jobs (Jeon et al., ATC'19).
    "philly": _by_powers_of_two(
        ".03 .08 .17 .82 3.62 8.42 18.88 26.99 31.5 36.28 54.91 67.47 79.28 84.6 90.29 92.71 94.86 96.95 98.39 99.32 "
        "99.8 99.95",
        longest=4_240_676,
    ),
    # SenseTime, 2020: 1,580,464 GPU jobs (Hu et al., SC'21).
    "helios": _by_powers_of_two(
        "4 4.93 6.35 7.7 10.72 16.15 24.88 37.81 56.57 67.58 75.25 84.1 87.53 90.75 94.36 96.26 97.77 98.9 99.55 "
        "99.86 99.96 100",
        longest=4_320_009,
    ),
    # Alibaba PAI, 2020: 1,037,085 GPU jobs (Weng et al., NSDI'22).
    "pai": _by_powers_of_two(
        ".08 .08 .11 .43 2.99 11.87 21.06 28.95 39.62 50.9 60.79 69.84 78.51 87.12 93.19 97.05 99.03 99.69 99.95 100",
        longest=2.0**19,
    ),
}
