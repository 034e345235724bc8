"""Rows of the report's CSV files."""

import numpy as np

from trainers.data.source import Source, Split
from trainers.inspection import duplicates, tables
from trainers.inspection.subject import Part, Subject


def test_members_that_only_others_connect_are_said_to_be_connected():
    members = [duplicates.Member(0, example, pixels) for example, pixels in enumerate([5, 6, 7, 5])]
    near = duplicates.Link("near", 4)
    group = duplicates.Group((*members,), {5: {6: near}, 6: {5: near, 7: near}, 7: {6: near}})
    split = Split(4, None, None, "place {}".format)
    part = Part(Source("mine", 3, 1, ("ant",), {}), "train", split, None, np.arange(4), np.zeros(4, int))
    found = [row[:3] for row in tables.duplicates_of(Subject([part], [], [group]))]
    assert found == [(1, "first", 0), (1, "near", 4), (1, "connected", ""), (1, "exact", 0)]
