//! What transformers gives: by a script, where Python has it.

use crate::{
    setup::{command, search::Places},
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, bail};
use std::{fs, path::Path, process::Command};

const SCRIPT: &str = include_str!("transformers.py");

/// What the script imports.
const MODULES: &str = "import torch, transformers, safetensors.torch";

/// What makes those be there.
const HOW: &str = "python3 -m venv ~/fewbit-python\n  ~/fewbit-python/bin/pip install torch \
                   --index-url https://download.pytorch.org/whl/cpu\n  ~/fewbit-python/bin/pip \
                   install transformers safetensors gguf sentencepiece\n  \
                   PATH=~/fewbit-python/bin:$PATH cargo harness case …";

/// Writes to `expected` what transformers computes for these inputs of the model in `folder`.
pub(super) fn compute(folder: &Path, inputs: &[u8], expected: &Path, ui: &Ui) -> Result<()> {
    let Some(python) = Places::of_this_process().program(&["python3", "python"], None) else {
        bail!("transformers needs Python, and there is no python3; with one:\n  {HOW}");
    };
    let python = python.to_str().context("the path of python3 is not UTF-8")?;
    if command::answer(python, &["-c", MODULES]).is_none() {
        bail!("{python} has no transformers; a Python that has:\n  {HOW}");
    }
    let scratch = tempfile::tempdir().context("a scratch folder")?;
    let (script, given) = (scratch.path().join("reference.py"), scratch.path().join("inputs"));
    fs::write(&script, SCRIPT).context("writing the script")?;
    fs::write(&given, inputs).context("writing the inputs")?;
    let mut program = Command::new(python);
    program.arg(script).args([folder, &given, expected]);
    let bar = ui.bar("transformers", None, Unit::Steps);
    let done = command::run(program, &bar).context("computing the reference with transformers");
    bar.finish();
    done
}
