"""Java sources to jars: equal classes give an equal jar, and what does not compile says why and leaves nothing."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

from crayfish.setup import java
from crayfish.spec.errors import CrayfishError


def test_equal_classes_give_an_equal_jar(tmp_path):
    jars = []
    for number, names in enumerate((("A", "sub/B"), ("sub/B", "A"))):
        classes = tmp_path / f"classes{number}"
        for name in names:
            file = classes / f"{name}.class"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(name.encode())
            os.utime(file, (10**9 + number,) * 2)
        (classes / "A.txt").write_text("no class")
        jars.append(tmp_path / "out" / f"{number}.jar")
        java.pack(classes, jars[-1])
    assert jars[0].read_bytes() == jars[1].read_bytes()
    assert zipfile.ZipFile(jars[0]).namelist() == ["A.class", "sub/B.class"]
    assert sorted(jars[0].parent.iterdir()) == jars


def test_a_source_that_does_not_compile_is_an_error_with_the_whole_report(tmp_path):
    compiler = tmp_path / "java"
    compiler.write_text(
        f"#!{sys.executable}\nprint('line 1: wrong', *['more'] * 50, sep='\\n')\nraise SystemExit(255)\n"
    )
    compiler.chmod(0o755)
    with pytest.raises(CrayfishError) as error:
        java.compile_jar(Path("A.java"), [], Path("ecj.jar"), str(compiler), tmp_path / "out.jar")
    assert "A.java does not compile" in str(error.value) and "line 1: wrong" in str(error.value)
    assert str(error.value).count("more") == 50 and not (tmp_path / "out.jar").exists()


def test_a_java_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CrayfishError, match="cannot be started"):
        java.compile_jar(Path("A.java"), [], Path("ecj.jar"), str(tmp_path / "java"), tmp_path / "out.jar")
