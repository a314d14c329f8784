"""Names made safe: whatever the server sends, one harmless path component comes out."""

from __future__ import annotations

import ntpath
import sys
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from noa_async.archive.names import LONGEST, fold, safe_name, with_id, with_zip

ID = "0a5c8f2e-6b1d-4c55-9f0e-5b0f3a2d7c11"
ORDINARY = [
    "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE.zip",
    "S1A_IW_GRDH_1SDV_20260112T043204_20260112T043229_062732_07DC5E_ABCD.SAFE",
    "S3A_OL_1_EFR____20260112T084512_20260112T084812_20260112T104512_0179_135_207_2160_X.SEN3",
    "S5P_OFFL_L2__AER_AI_20260112T100000_20260112T114130_42622_03_020800_20260113T020000.nc",
    "COMET.zip",
    "console.log",
]
WORDS = ["..", "CON", "nul", "com¹", ".SAFE", ".zip", "é", "界", "🛰️", "x" * 90]
SIGNS = "/\\.-~ \0\n\u0301\u202e\u200b\ufeff\ud800\u2028\u00a0\u3000"
PIECES = st.sampled_from([*WORDS, *SIGNS])
HOSTILE = st.lists(PIECES | st.text(max_size=6), max_size=12).map("".join)


def is_reserved(name: str) -> bool:
    """Whether Windows keeps a name for itself, by the standard library's own knowledge."""
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(name)
    return PureWindowsPath(name).is_reserved()


def bytes_of(name: str) -> int:
    return len(name.encode())


def assert_safe(name: str) -> None:
    assert 0 < bytes_of(name) <= LONGEST
    assert not set(name) & set('/\\<>:"|?*')
    assert not [
        sign
        for sign in name
        if unicodedata.category(sign)[0] == "C" or unicodedata.category(sign) in {"Zl", "Zp"}
    ]
    assert name[0] not in ".- "
    assert name[-1] not in ". "
    assert unicodedata.is_normalized("NFC", name)
    assert not is_reserved(name)
    assert PurePosixPath("out", name).parent == PurePosixPath("out")
    assert PureWindowsPath("out", name).parent == PureWindowsPath("out")


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_come_through(name):
    assert safe_name(name, ID) == name


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        (r"..\..\evil.exe", "_._.._evil.exe"),
        (r"C:\evil", "C__evil"),
        ("a\0b\nc\x7fd", "a_b_c_d"),
        ("photo\u202egnp.exe", "photo_gnp.exe"),
        ("a\u200bb\u200dc\ufeffd", "a_b_c_d"),
        ("a\u2028b\u2029c", "a_b_c"),
        ("a\ud800b", "a_b"),
        ('<>:"|?*', "_______"),
        (".hidden", "_hidden"),
        ("-rf", "_rf"),
        ("  .x", "_x"),
        ("\u00a0x\u3000y\u00a0", "x y"),
        ("x. . .", "x"),
        ("NUL", "_NUL"),
        ("con.SAFE.zip", "_con.SAFE.zip"),
        ("Aux .txt", "_Aux .txt"),
        ("COM1.nc", "_COM1.nc"),
        ("lpt³", "_lpt³"),
        ("CONIN$", "_CONIN$"),
        ("e\u0301te\u0301.nc", "été.nc"),
        ("", ID),
        ("   ", ID),
        ("..", ID),
        (". . .", ID),
    ],
)
def test_hostile_names(given_name, expected):
    assert safe_name(given_name, ID) == expected


def test_a_fallback_is_made_safe_as_well():
    assert safe_name("..", "../up") == "_._up"
    assert safe_name("..", "NUL") == "_NUL"
    assert safe_name("..", "..") == "_"


def test_a_long_name_keeps_its_endings():
    name = safe_name("S" * 300 + ".SAFE.zip", ID)
    assert name == "S" * (LONGEST - len(".SAFE.zip")) + ".SAFE.zip"


def test_a_long_name_is_cut_between_characters():
    name = safe_name("界" * 100 + ".SEN3", ID)
    assert name == "界" * 65 + ".SEN3"  # 195 of the 195 bytes that are left
    assert safe_name("x" + "界" * 100 + ".SEN3", ID) == "x" + "界" * 64 + ".SEN3"


def test_a_long_ending_is_no_ending():
    assert safe_name("a." + "b" * 300, ID) == "a." + "b" * 198


def test_the_longest_name_is_left_alone():
    assert safe_name("x" * LONGEST, ID) == "x" * LONGEST
    assert safe_name("é" * 100, ID) == "é" * 100


def test_a_cut_uncovers_no_device():
    assert safe_name("CON" + " " * 300 + "x", ID) == "_CON"


@given(HOSTILE, HOSTILE)
@example("CON" + " " * 196 + "x.SAFE.zip", "")
@example("x" * 199 + " .x", "")
@example("nul." + "x" * 196, "")
def test_any_name_is_safe_and_stays_the_same(name, fallback):
    safe = safe_name(name, fallback)
    assert_safe(safe)
    assert safe_name(safe, fallback) == safe


@given(HOSTILE)
def test_what_is_appended_keeps_a_name_safe(name):
    zipped = with_zip(safe_name(name, ID), is_zip=True)
    assert_safe(zipped)
    assert zipped.lower().endswith(".zip")
    own = with_id(zipped, ID)
    assert_safe(own)
    assert "_0a5c8f2e" in own
    assert safe_name(own, ID) == own


def test_zip_is_appended_where_the_name_does_not_say_so():
    assert with_zip("X.SAFE", is_zip=True) == "X.SAFE.zip"
    assert with_zip("X.SEN3", is_zip=True) == "X.SEN3.zip"
    assert with_zip("X.SAFE.ZIP", is_zip=True) == "X.SAFE.ZIP"
    assert with_zip("X.SAFE.zip", is_zip=True) == "X.SAFE.zip"
    assert with_zip("X.SAFE", is_zip=False) == "X.SAFE"


def test_zip_is_appended_to_the_longest_name():
    name = with_zip("x" * 195 + ".SAFE", is_zip=True)
    assert name == "x" * 191 + ".SAFE.zip"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("X.SAFE.zip", "X_0a5c8f2e.SAFE.zip"),
        ("X.SEN3", "X_0a5c8f2e.SEN3"),
        ("X.nc", "X_0a5c8f2e.nc"),
        ("X", "X_0a5c8f2e"),
        ("x" * 195 + ".SAFE", "x" * 186 + "_0a5c8f2e.SAFE"),
    ],
)
def test_the_id_goes_before_the_endings(name, expected):
    assert with_id(name, ID) == expected


def test_two_ids_give_two_names():
    other = "1b5c8f2e-6b1d-4c55-9f0e-5b0f3a2d7c11"
    assert with_id("x" * 200, ID) != with_id("x" * 200, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Data/X.SAFE", "data/x.safe"),
        ("été.nc", "e\u0301te\u0301.NC"),
        ("straße", "STRASSE"),
        ("ﬁle", "FILE"),
        ("ΣΑΣ", "σας"),
        ("\u212a", "k"),
        ("ı", "I"),
        ("\u1fb4", "\u03b1\u0345\u0301"),
    ],
)
def test_names_that_may_meet_share_a_key(one, other):
    assert fold(one) == fold(other)


def test_other_names_have_other_keys():
    assert len({fold(name) for name in ORDINARY}) == len(ORDINARY)
    assert fold("a/b") != fold("a_b")


@given(st.text(max_size=12))
def test_a_key_knows_no_case_and_no_normal_form(name):
    decomposed = unicodedata.normalize("NFD", name)
    same = {name, name.upper(), name.lower(), decomposed, unicodedata.normalize("NFC", name)}
    assert len({fold(one) for one in same}) == 1


def test_no_character_has_two_keys():
    for number in range(0x2_0000):
        sign = chr(number)
        forms = {sign, sign.upper(), sign.lower(), unicodedata.normalize("NFD", sign)}
        assert len({fold(form) for form in forms}) == 1, hex(number)
