"""Names in zips of Windows: the code page is told by the names, or nothing is guessed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from conftest import each

from ftlight.tasks.image_classification import containers
from ftlight.tasks.image_classification.code_pages import code_page

NAMES = {
    "gbk": [
        *("红 绿 蓝", "猫 狗", "苹果 香蕉 橘子", "正常 缺陷", "玫瑰 郁金香 向日葵"),
        *("塑料 玻璃 纸板 金属", "猫", "北京 上海 广州"),
    ],
    "cp932": ["赤 青 緑", "犬 猫", "りんご バナナ", "良品 不良品", "ひまわり 桜 薔薇", "表 裏"],
    "cp949": ["고양이 강아지", "빨강 파랑 초록", "사과 바나나", "정상 불량", "장미 튤립 해바라기"],
    "cp950": ["紅 綠 藍", "貓 狗", "蘋果 香蕉"],
    "cp866": ["кошка собака", "Красный Синий", "КОТ ПЁС"],
    "cp1251": ["кошка собака"],
    "cp850": ["café naïve", "Äpfel Öl", "água pão"],
    "cp852": ["kočka žába"],
    "cp1252": ["café niño"],
    "utf-8": ["né été", "кошка", "猫 狗", "고양이"],
}


def zipped(path: Path, names: list[bytes]) -> str:
    """A zip with names as bytes, whatever they are, and without the flag of UTF-8."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for i, name in enumerate(names):
            # of the same length, so that they can be put in place of one another
            archive.writestr(chr(65 + i) * len(name), b"" if len(name) < 8 else name)
    content = data.getvalue()
    for i, name in enumerate(names):
        content = content.replace((chr(65 + i) * len(name)).encode(), name)
    path.write_bytes(content)
    return str(path)


def test_the_code_page_is_told_by_the_names() -> None:
    def check(page: str, words: str) -> None:
        assert code_page([f"{word}/1.jpg".encode(page) for word in words.split()]) == page

    each([(page, words) for page, sets in NAMES.items() for words in sets], check)


def test_nothing_is_guessed_if_no_code_page_makes_sense() -> None:
    for names in ([b"\x81\x30\x81\x30"], [b"\xff\xfe/1.jpg"], [b"\xb0\xb1\xdb/a.jpg"]):
        assert code_page(names) is None


def test_names_of_a_zip_are_decoded_with_a_remark(tmp_path: Path) -> None:
    place = zipped(
        tmp_path / "a.zip", [f"{c}/photo{i}.jpg".encode("gbk") for c in "红蓝" for i in "12"]
    )
    tree = containers.Zip(place)
    assert tree.names() == ["红/photo1.jpg", "红/photo2.jpg", "蓝/photo1.jpg", "蓝/photo2.jpg"]
    assert tree.read("蓝/photo2.jpg", "") == "蓝/photo2.jpg".encode("gbk")
    assert tree.remark() == f"{place}: 4 names are read in gbk, such as 红/photo1.jpg"


def test_names_that_cannot_be_decoded_are_kept_with_a_remark(tmp_path: Path) -> None:
    place = zipped(tmp_path / "a.zip", [b"\xb0\xb1\xdb/photo.jpg"])
    tree = containers.Zip(place)
    assert tree.names() == ["░▒█/photo.jpg"]
    assert tree.read("░▒█/photo.jpg", "") == b"\xb0\xb1\xdb/photo.jpg"
    assert "code page that cannot be told, such as '░▒█/photo.jpg'; make the zip" in tree.remark()


def test_backslashes_divide_and_files_of_systems_are_left_out(tmp_path: Path) -> None:
    names = [b"cat\\one\\1.jpg", "表\\2.jpg".encode("cp932"), "猫\\3.jpg".encode("cp932")]
    more = [b"cat\\Thumbs.db", b"cat\\desktop.ini", b"__MACOSX\\cat\\1.jpg", b"dog\\"]
    tree = containers.Zip(zipped(tmp_path / "a.zip", [*names, *more]))
    assert tree.names() == ["cat/one/1.jpg", "猫/3.jpg", "表/2.jpg"]
    assert tree.read("cat/one/1.jpg", "") == names[0]


def test_a_name_in_utf_8_beside_another_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("né/1.jpg", b"1")  # with the flag
        archive.writestr("plain/1.jpg", b"2")
    tree = containers.Zip(str(path))
    assert (tree.names(), tree.remark()) == (["né/1.jpg", "plain/1.jpg"], "")
