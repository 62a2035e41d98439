"""Charts of a ladder and of a reranking."""

from elasticranker.display.charts import bump_chart, ladder_chart


def test_a_rung_is_a_point_where_its_quality_is_known():
    axes = ladder_chart([0.05, 0.25], [0.8, 0.9]).axes[0]
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[0.05, 0.8], [0.25, 0.9]]]


def test_a_rung_of_unknown_quality_has_no_height():
    axes = ladder_chart([1.0], [None]).axes[0]
    assert [list(line.get_xdata()) for line in axes.lines] == [[1.0, 1.0]]
    assert list(axes.get_yticks()) == []


def test_every_candidate_has_a_line_from_its_old_to_its_new_rank():
    figure = bump_chart([2, 0, 1], [0, 1, 2], [1, 0, 0], names=["c", "a", "b"], labels=["1 layer (2)", "all (1)"])
    axes = figure.axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[3, 1], [1, 2], [2, 3]]
    assert axes.lines[0].get_color().tolist() != axes.lines[1].get_color().tolist()
    assert [text.get_text() for text in axes.texts] == ["c", "a", "b"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the best on top
    assert [text.get_text() for text in figure.legends[0].texts] == ["1 layer (2)", "all (1)"]


def test_a_long_name_is_shortened():
    axes = bump_chart([0], [0], [0], names=["x" * 99], labels=["1 layer"]).axes[0]
    assert len(axes.texts[0].get_text()) < 30
