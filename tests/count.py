"""Adds up the JUnit files of a test run: prints "N passed, N failed, N skipped" and names what failed."""
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

folder, failed_steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])
passed = failed = skipped = 0
for path in sorted(folder.glob("*.xml")):
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{path.stem}: {case.get('classname', '')} {case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed += 1
            print("failed", name)
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
failed = max(failed, failed_steps)  # a step that died before it wrote results counts too
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
