"""Name, version, dependencies and commands of greenchat; the tools are set up in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

# The client library needs the first one alone (docs/client.md).
REQUIRES = [
    "simplejson>=3.19",
    "prompt_toolkit>=3.0.40",
    "gevent>=24.10",
    "h11>=0.16",
    "PyMySQL>=1.1.1",
    "redis>=5.0",
    "msgspec>=0.19",
    "SQLAlchemy>=2.0.30",
    "argon2-cffi>=23.1",
    "prometheus_client>=0.20",
]
CLUSTER_REQUIRES = ["supervisor>=4.3.0"]
TEST_REQUIRES = [
    "pytest>=9.0",
    "pytest-xdist>=3.8",
    "hypothesis>=6.100",
    "pexpect>=4.9",
    "ruff>=0.9",
    "mypy>=1.15",
    "coverage>=7.10",
    "codespell>=2.4",
    "schemathesis>=4.32",
    "standardwebhooks>=1.1",
    "build>=1.2",
]


def version() -> str:
    """Read the version without importing the package, which the build may not be able to do."""
    text = Path(__file__).with_name("greenchat").joinpath("__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


setup(
    name="greenchat",
    version=version(),
    description="A clustered chat server that a small team can run, read and trust",
    license="MIT",
    python_requires=">=3.11",
    install_requires=REQUIRES,
    extras_require={"cluster": CLUSTER_REQUIRES, "test": [*CLUSTER_REQUIRES, *TEST_REQUIRES]},
    packages=find_packages(include=["greenchat", "greenchat.*"]),
    package_data={"greenchat": ["py.typed", "web/*"]},
    entry_points={
        "console_scripts": [
            "greenchat-server = greenchat.server.__main__:main",
            "greenchat-admin = greenchat.admin.program:main",
            "greenchat = greenchat.client.__main__:main",
        ]
    },
)
