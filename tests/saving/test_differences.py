from kerasrl.files.differences import ABSENT, compare, table


def test_equal_nests_have_no_differences():
    nest = {"a": [1, {"b": None}], "c": 1.5}
    assert compare(nest, {"c": 1.5, "a": (1, {"b": None})}) == []


def test_differences_are_named_by_their_path():
    here = {"a": [1, {"b": 2, "only": 0}], "same": 1, "kind": {"x": 1}, "lengths": [1, 2]}
    there = {"a": [1, {"b": 3}], "same": 1, "kind": 5, "lengths": [1], "more": "m"}
    assert compare(here, there) == [
        ("a[1].b", 2, 3),
        ("a[1].only", 0, ABSENT),
        ("kind", {"x": 1}, 5),
        ("lengths", [1, 2], [1]),
        ("more", ABSENT, "m"),
    ]


def test_a_table_is_aligned_and_not_too_long():
    rows = [("a", 1, 2), ("longer", "x" * 50, ABSENT)]
    assert table(rows).splitlines() == [
        "  what    here                                      in the file",
        "  a       1                                         2",
        f"  longer  {'x' * 37}...  (absent)",
    ]
    assert table([(str(i), i, 0) for i in range(25)]).splitlines()[-1] == "  and 5 more"
