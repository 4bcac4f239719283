"""lockstep doctor --gpu-selftest and what doctor says about a GPU, on the stand-ins."""

import json
import os
import re
import subprocess



def doctor(build, *words, modules=None, **variables):
    environment = {**os.environ, "LOCKSTEP_MODULES": str(modules or build / "tests/gpu/lib/lockstep"), **variables}
    return subprocess.run([build / "bin/lockstep", "doctor", *map(str, words)], capture_output=True, text=True, timeout=300, env=environment)


def report(path):
    return path.read_text().splitlines(), json.loads(path.with_suffix(".json").read_text())


def test_a_gpu_that_is_right_passes(build, tmp_path):
    done = doctor(build, "--gpu-selftest", "--quick", "--report", tmp_path / "r.md", TMPDIR=str(tmp_path), LK_SIM_GPUS="2",
                  OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    assert done.returncode == 0, done.stdout + done.stderr
    lines, found = report(tmp_path / "r.md")
    assert lines[0].startswith("# GPU self-test of Lockstep ") and lines[0].endswith(": passed")
    assert found["passed"] is True and found["finished"] is True and found["machine"]["gpu"] == "stand-in GPU"
    parts = {part["name"]: part for part in found["parts"]}
    assert {part["outcome"] for part in parts.values()} == {"passed"} and len(parts) == 13
    for compute in ("float32", "tf32", "bfloat16", "float16"):
        assert int(re.search(rf"compare cuda in {compute}: (\d+) cases", parts[f"ops in {compute}"]["text"])[1]) > 25
    losses = parts["training"]["figures"]
    assert len(losses["cpu"]) == len(losses["cuda_float32"]) == 10 and losses["cpu"] != losses["cuda_float32"]
    assert all(parts[f"graphs in {compute}"]["outcome"] == "passed" for compute in ("float32", "bfloat16"))
    assert parts["several GPUs"]["outcome"] == "passed" and "on 1 and 2 GPUs" in parts["several GPUs"]["text"]
    assert parts["speed of cifar_resnet8"]["figures"]["step_images_per_s"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.md"]  # the scratch folder is gone


def test_what_fails_stands_in_the_first_line(build, tmp_path):
    """A GPU without room for a network: all is tried all the same."""
    done = doctor(build, "--gpu-selftest", "--quick", "--report", tmp_path / "r.md", LK_SIM_MEMORY=str(300 << 10))
    assert done.returncode == 1 and "the GPU self-test failed in" in done.stderr and "training" in done.stderr
    lines, found = report(tmp_path / "r.md")
    assert "FAILED in " in lines[0] and "training" in lines[0] and found["passed"] is False
    training = next(part for part in found["parts"] if part["name"] == "training")
    assert training["outcome"] == "FAILED" and "the GPU has no room for" in training["output"]
    assert "no room for" in "\n".join(lines)


def test_without_a_gpu_it_fails_at_once(build, tmp_path):
    done = doctor(build, "--gpu-selftest", "--report", tmp_path / "r.md", LK_SIM_GPUS="0")
    assert done.returncode == 1 and "failed in machine" in done.stderr
    lines, found = report(tmp_path / "r.md")
    assert lines[0].endswith("FAILED in machine")
    assert [part["outcome"] for part in found["parts"]] == ["FAILED"] + ["skipped"] * (len(found["parts"]) - 1)


def gpu_line(build, **options):
    done = doctor(build, "--json", **options)
    return next(f for f in json.loads(done.stdout)["findings"] if f["check"] == "gpu")


def test_doctor_says_what_the_gpu_needs(build, tmp_path):
    assert "stand-in GPU" in gpu_line(build)["text"]
    assert "finds no GPU" in gpu_line(build, LK_SIM_GPUS="0")["text"]
    assert "this build has no CUDA device" in gpu_line(build, modules=tmp_path)["text"]


def test_libraries_are_looked_for(build, tmp_path):
    """A module that is linked with a library which the system's loader does not find: a cuDNN 7 that is only a name."""
    packages = tmp_path / "venv/lib/python3.12/site-packages/nvidia"
    (packages / "cudnn/lib").mkdir(parents=True)
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python3").symlink_to("/bin/true")
    modules = tmp_path / "modules"
    modules.mkdir()
    (tmp_path / "a.c").write_text("int cudnn_there(void) { return 1; }")
    (tmp_path / "b.c").write_text("int cudnn_there(void); int module(void) { return cudnn_there(); }")
    library = packages / "cudnn/lib/libcudnn.so.7"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libcudnn.so.7", tmp_path / "a.c", "-o", library], check=True)
    subprocess.run(["cc", "-shared", "-fPIC", tmp_path / "b.c", library, "-o", modules / "lockstep_cuda.so"], check=True)

    line = gpu_line(build, modules=modules)
    assert "libcudnn.so.7" in line["text"] and "LOCKSTEP_CUDA_LIBRARIES" in line["text"]
    assert "no CUDA device" not in line["text"]  # it is there, and something else is missing
    loaded = "lockstep_cuda.so is no module of this program"
    for place in (packages, packages / "cudnn", packages / "cudnn/lib"):
        assert loaded in gpu_line(build, modules=modules, LOCKSTEP_CUDA_LIBRARIES=f"/nowhere:{place}")["text"]
    assert loaded in gpu_line(build, modules=modules, PATH=f"/nowhere:{tmp_path / 'venv/bin'}")["text"]
    assert loaded not in gpu_line(build, modules=modules, LOCKSTEP_CUDA_LIBRARIES=str(tmp_path))["text"]




def test_gpu_as_json(build):
    found = json.loads(doctor(build, "--gpu").stdout)
    assert found["gpu"] == "stand-in GPU" and found["cudnn"].startswith("9.") and "libsim_cudnn" in found["libraries"]["cudnn"]
    refused = doctor(build, "--quick")
    assert refused.returncode == 2 and "--quick goes with --gpu-selftest" in refused.stderr
