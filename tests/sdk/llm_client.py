"""Test of the unmodified llm command: a configured model, with and without a stream."""

import os
import pathlib
import subprocess
import sys
import tempfile

home = pathlib.Path(tempfile.mkdtemp())
(home / "extra-openai-models.yaml").write_text(
    f"- model_id: governed\n  model_name: default\n  api_base: {os.environ['MLSDM_BASE_URL']}/v1\n"
)
command = pathlib.Path(sys.executable).with_name("llm")
environment = os.environ | {"LLM_USER_PATH": str(home), "OPENAI_API_KEY": "none"}
for options in [[], ["--no-stream"]]:
    done = subprocess.run(
        [command, "-m", "governed", *options, "My dog is called Rex"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done
    assert done.stdout.strip().endswith("You said: My dog is called Rex"), done
