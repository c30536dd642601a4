"""The unmodified llm command: a configured model with a tool, with and without a stream."""

import os
import pathlib
import subprocess
import sys
import tempfile

from common import ANSWER, BASE, QUESTION, run, show


def chat():
    home = pathlib.Path(tempfile.mkdtemp())
    (home / "extra-openai-models.yaml").write_text(
        f"- model_id: governed\n  model_name: gpt-4.1\n  api_base: {BASE}/v1\n  supports_tools: true\n"
    )
    (home / "weather.py").write_text(
        'def weather(city: str) -> str:\n    "Weather."\n    return f"It is sunny in {city}"\n'
    )
    command = pathlib.Path(sys.executable).with_name("llm")
    environment = os.environ | {"LLM_USER_PATH": str(home), "OPENAI_API_KEY": "k"}
    tools = ["--functions", str(home / "weather.py")]
    for options in [[], ["--no-stream"]]:
        for more, expected in [([], f"You said: {QUESTION}"), (tools, ANSWER)]:
            done = subprocess.run(
                [command, "-m", "governed", *options, *more, QUESTION],
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done
            assert done.stdout.strip() == expected, done
            show(done.stdout)


run({"chat": chat})
