"""Small workbooks for tests, written as we do and changed as other tools do."""

import re
import zipfile

import openpyxl
import pytest

from utils.storage import manifest, workbook

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
X14AC = "http://schemas.microsoft.com/office/spreadsheetml/2009/9/ac"
DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n'
SHARED = "xl/sharedStrings.xml"
SHARED_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
SHARED_RELATION = (
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
)


def table(**columns):
    """A table from its columns."""
    names = list(columns)
    return workbook.frame(names, [dict(zip(names, row)) for row in zip(*columns.values())])


def small():
    """A manifest of two samples."""
    names = ["amos_0001", "amos_0004"]
    return table(ID=names, szx=[512, 7], spx=[0.78125, 1 / 3], age=["062Y", "UND"])


@pytest.fixture(name="path")
def target_path(tmp_path):
    return tmp_path / "sub folder" / "dataset_manifest.xlsx"


@pytest.fixture(name="written")
def small_workbook(path):
    manifest.Target(path).write({"Manifest": small()})
    return path


def read(path, sheet="Manifest", **options):
    return workbook.Workbook(path).table(sheet, **options)


def rows(path, sheet="Manifest", **options):
    return read(path, sheet, **options).to_dict("records")


def add(path, name, cells):
    """Put a worksheet into a workbook, whoever changed it."""
    return manifest.replace_sheet(workbook.Workbook(path), name, cells)


def edit(path, change):
    """Change a workbook as another tool does."""
    book = openpyxl.load_workbook(path)
    change(book)
    book.save(path)


def edit_parts(path, change):
    """Change the files in a workbook, {name: bytes}."""
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w") as target:
        for name, content in parts.items():
            target.writestr(name, content)


def save_as_excel(path):
    """A declaration, texts in one list that cells share, attributes of other namespaces."""

    def change(parts):
        texts = []

        def share(match):
            texts.append(match[2])
            return f'<c{match[1]} t="s" cm="1"><v>{len(texts) - 1}</v></c>'

        for name in [name for name in parts if name.startswith("xl/worksheets/sheet")]:
            xml = parts[name].decode()
            xml = re.sub(r'<c( [^>]*) t="inlineStr"><is>(.*?)</is></c>', share, xml, flags=re.S)
            xml = xml.replace("<worksheet ", f'<worksheet xmlns:x14ac="{X14AC}" ')
            xml = xml.replace("<row ", '<row x14ac:dyDescent="0.25" ')
            parts[name] = f"{DECLARATION}{xml}".encode()
        assert texts
        listed = "".join(f"<si>{text}</si>" for text in texts)
        parts[SHARED] = f'<sst xmlns="{MAIN}">{listed}</sst>'.encode()
        insert = {
            "[Content_Types].xml": f'<Override PartName="/{SHARED}" ContentType="{SHARED_TYPE}"/>',
            "xl/_rels/workbook.xml.rels": f'<Relationship Id="rId99" Type="{SHARED_RELATION}" '
            'Target="sharedStrings.xml"/>',
        }
        for name, entry in insert.items():
            parts[name] = re.sub(rb"(</\w+>)\s*$", entry.encode() + rb"\1", parts[name])

    edit_parts(path, change)
