"""Unpacks parts of a wheel: unpack.py WHEEL INTO RULES, where RULES is JSON [[source, target], ...].

A source that ends in "/" names all files below it, any other names one file.
"""

import json
import os
import shutil
import sys
import zipfile

wheel, into, rules = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
try:
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if not name.endswith("/")]
        for source, target in rules:
            names = [name for name in files if name == source or (source.endswith("/") and name.startswith(source))]
            if not names:
                sys.exit(f"{os.path.basename(wheel)} has no {source}")
            for name in names:
                path = os.path.join(into, target + name[len(source) :])
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with archive.open(name) as reader, open(path, "wb") as writer:
                    shutil.copyfileobj(reader, writer, 1 << 20)
except (OSError, zipfile.BadZipFile) as error:
    sys.exit(str(error))
