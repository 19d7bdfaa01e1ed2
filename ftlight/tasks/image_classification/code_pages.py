"""Names of files in zips of Windows, written in a code page that the zip does not name."""

from __future__ import annotations

import contextlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ftlight.utils.format import counted

UTF_8 = 0x800  # the flag of an entry whose name is in UTF-8
UNICODE_NAME = 0x7075  # the extra field of one whose name is there in UTF-8
LEAST = 0.2  # share of frequent characters from which on a code page is believed
SHORTEST = 3  # letters of a word in Cyrillic: two may be a Chinese or Japanese character
CLEAR = 2.0  # how many times the next best share it must be

# Frequent characters, in text and in names of classes.
SIMPLIFIED = set(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之"
    "年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样"
    "理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将"
    "两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信"
    "表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活更"
    "别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区"
    "红橙黄绿蓝紫黑白灰粉棕色猫狗鸟鱼花草树叶苹香蕉葡萄瓜桃梨莓车船飞房桌椅鸡鸭牛羊猪马虎狮象"
    "兔鼠蛇龙猴熊衣鞋帽裤裙米肉菜汤茶酒杯碗刀火土石木云雨雪风星雷灯纸笔画图片照训练测试验证据"
    "集类异缺陷坏格病害虫健康甲乙丙丁南北春夏秋冬男五六七八九百千万塑料玻璃板铁铜布皮纸锈划痕裂纹破损左右前后内外"
)
TRADITIONAL = set(
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之"
    "年過發後作裡用道行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣"
    "理心她本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情明性知全三又關點正業外將"
    "兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己制身果加西月話合回特代內信表"
    "化老給世位次度門任常先海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活更別"
    "紅橙黃綠藍紫黑白灰粉棕色貓狗鳥魚花草樹葉蘋香蕉葡萄瓜桃梨莓車船飛房桌椅雞鴨牛羊豬馬虎獅象"
    "兔鼠蛇龍猴熊衣鞋帽米麵肉菜湯茶酒杯碗刀火土石木雲雨雪風星雷燈紙筆畫圖片照訓練測試驗證資料"
    "集類異缺陷壞格病害蟲健康南北春夏秋冬男女四五六七八九百千萬"
)
JAPANESE = set(
    "日本人大一年国会中出学生行事社時分気上小見思手前後長間子地方山川田東京西南北口目月火水木"
    "金土犬猫鳥魚花赤青白黒黄緑紫茶色灰桃橙車船飛機家牛馬虎象兎亀豚羊熊猿蛇鼠鶏林森空雨雪風星"
    "電画像写真習検証訓練試験正常異良品不欠陥種類果物野菜肉米酒食男女老若春夏秋冬桜梅栗苺葡萄"
    "二三四五六七八九十百千万円新古高安有無合格否病害虫健康葉草樹石鉄紙布服靴帽箱机椅表裏右左中外割傷汚"
)
HANGUL = set(
    "이다는에의가을하고은를지기도로사한어자리시인대아나서들일그스전해부수정상원보제오라구장동주"
    "과만여성조으와계공경비유니관선문화소위방내발연우신세중치드미안생개거회게학교음마르트반국식"
    "업면차모적산체물통있었던것되된할했합습요야양강꽃말돼닭새토끼호랑곰숭빨파란노초록검하얀황분"
    "홍색갈버배행집무잎바딸포박복귤량훈련증험남봄름겨울고강아지검은빛밤낮달별눈비바람불흙돌철"
)
LETTERS = {  # of single bytes, by code page; the first that will do is taken
    "cp866": set("абвгдежзийклмнопрстуфхцчшщъыьэюяёАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЁ"),
    "cp850": set("àâäáãåçéèêëíìîïñóòôöõøúùûüÿßæœÀÂÄÁÃÅÇÉÈÊËÍÌÎÏÑÓÒÔÖÕØÚÙÛÜÆ"),
    "cp852": set("áäčćďđéěëęíľĺłňńóôöőřŕšśťúůüűýžźżąăâîșțÁÄČĆĎĐÉĚËĘÍĽŁŇŃÓÔÖŐŘŠŚŤÚŮÜŰÝŽŹŻĄ"),
    "cp1251": set("абвгдежзийклмнопрстуфхцчшщъыьэюяёАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЁ"),
    "cp1252": set("àâäáãåçéèêëíìîïñóòôöõøúùûüÿßæœÀÂÄÁÃÅÇÉÈÊËÍÌÎÏÑÓÒÔÖÕØÚÙÛÜÆŒ"),
}
FREQUENT = {"gbk": SIMPLIFIED, "cp950": TRADITIONAL, "cp932": JAPANESE, "cp949": HANGUL}


def names_of(entries: Sequence[zipfile.ZipInfo], place: str) -> tuple[list[str], str]:
    """Names of the entries of a zip, with ``/``, and a remark about how they were decoded.

    Args:
        entries: the entries; :mod:`zipfile` has read names without the flag of UTF-8 as cp437.
        place: the zip, for the remark.
    """
    names = [_told(entry) for entry in entries]
    raw = {i: entries[i].orig_filename.encode("cp437") for i, name in enumerate(names) if not name}
    page = code_page(set(raw.values())) if raw else None
    for i, data in raw.items():
        names[i] = data.decode(page) if page else entries[i].filename
    remark = ""
    if page and page not in ("utf-8", "cp850"):
        first = next(names[i] for i in raw)
        remark = f"{place}: {counted(len(raw), 'name', 'are')} read in {page}, such as {first}"
    elif raw and not page:
        first = names[next(iter(raw))]
        remark = (
            f"{place}: {counted(len(raw), 'name', 'are')} in a code page that cannot be told,"
            f" such as {first!r}; make the zip with names in UTF-8, or unpack it and give"
            " the folder"
        )
    return [name.replace("\\", "/") for name in names], remark


def _told(entry: zipfile.ZipInfo) -> str:
    """The name of an entry if the zip tells its encoding, else nothing."""
    if entry.flag_bits & UTF_8 or entry.orig_filename.isascii():
        return entry.filename
    extra, at = entry.extra, 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + size]
        if kind == UNICODE_NAME and len(field) > 5:
            (checksum,) = struct.unpack_from("<L", field, 1)
            if checksum == zlib.crc32(entry.orig_filename.encode("cp437")):
                return field[5:].decode("utf-8", "replace")
        at += 4 + size
    return ""


def code_page(names: Iterable[bytes]) -> str | None:
    """The code page in which names make sense; None if it cannot be told.

    It must decode all of them, to words of one alphabet, or to characters of which many are
    frequent in their language and which no other code page makes as many of. Names that are valid
    UTF-8 are in UTF-8.

    >>> code_page(["红/1.jpg".encode("gbk"), "蓝/1.jpg".encode("gbk")])
    'gbk'
    """
    texts: dict[str, list[str]] = {}
    for page in ("utf-8", *LETTERS, *FREQUENT):
        with contextlib.suppress(UnicodeDecodeError):
            texts[page] = [name.decode(page) for name in names]
    # two bytes of another code page may happen to be one Latin letter in UTF-8
    if any(c > "\xff" for name in texts.get("utf-8", ()) for c in name):
        return "utf-8"
    words = {"utf-8": LETTERS["cp1252"], **LETTERS}
    for page in [page for page in words if page in texts]:
        if _are_words(texts[page], words[page]):
            return page
    shares = {page: _share(page, texts[page]) for page in FREQUENT if page in texts}
    ranked = sorted(shares, key=lambda page: -shares[page])
    if not ranked or shares[ranked[0]] < LEAST:
        return None
    second = shares[ranked[1]] if len(ranked) > 1 else 0.0
    return ranked[0] if shares[ranked[0]] >= CLEAR * second else None


def _are_words(names: Iterable[str], letters: set[str]) -> bool:
    """Whether names are written in an alphabet: no capital follows a small letter.

    Latin letters with marks stand beside a plain one; Cyrillic ones make words of their own.
    """
    for part in (part for name in names for part in re.split(r"[\\/]", name)):
        stem = part.rpartition(".")[0] or part
        beyond = [c for c in stem if not c.isascii()]
        plain = any(c.isascii() and c.isalpha() for c in stem)
        if not letters.issuperset(beyond):
            return False
        for before, after in pairwise(stem):
            if before.islower() and after.isupper() and not (before + after).isascii():
                return False
        fits = not plain and len(beyond) >= SHORTEST if "я" in letters else plain
        if beyond and not fits:
            return False
    return True


def _share(page: str, names: Iterable[str]) -> float:
    """The share of characters beyond ASCII that are frequent in the language of a code page."""
    characters = {c for name in names for c in name if not c.isascii()}
    frequent = FREQUENT[page]
    kana = page == "cp932"
    good = sum(c in frequent or (kana and "\u3041" <= c <= "\u30fe") for c in characters)
    return good / len(characters)
