"""Scores of free text by its words: ROUGE-L and BLEU, computed by `rouge-score` and `sacrebleu`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from eshop_ray.tasks.metrics.metric import Predictions, Targets, mean_of_rows, require, score_each


def score_rouge_l(targets: Targets, predictions: Predictions) -> list[float]:
    """Return the F-measure of ROUGE-L with stemming; of several references, the best one's.

    The library reads Latin letters and digits only: text in another script scores 0, in ShopBench too.

    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, by `rouge_score`.

    Raises:
        UserError: if `rouge-score` is not installed.
    """
    scorer = require("rouge_score.rouge_scorer", "rouge-score").RougeScorer(["rougeL"], use_stemmer=True)

    def score(target: str | Sequence[str], prediction: str) -> float:
        scores = scorer.score(prediction, target) if isinstance(target, str) else scorer.score_multi(target, prediction)
        return float(scores["rougeL"].fmeasure)

    return score_each(score, targets, predictions)


def score_bleu(targets: Targets, predictions: Predictions, tokenize: str) -> list[float]:
    """Return BLEU in [0, 1] of the answer's first line, lower-cased; a list of references is used as a whole.

    Each row is scored as a corpus of one, as ShopBench does, not with sentence-level smoothing of the order: an
    answer of fewer than four words has no 4-gram and scores 0 even when it is right.

    Source: Post, "A Call for Clarity in Reporting BLEU Scores", 2018, by `sacrebleu`.

    Args:
        targets: One reference, or a list of them, per row.
        predictions: One text, or None, per row.
        tokenize: sacrebleu's name of a tokenizer: `13a`, or `ja-mecab` for Japanese.

    Raises:
        UserError: if `sacrebleu`, or its part for Japanese, is not installed.
    """
    sacrebleu: Any = require("sacrebleu", "sacrebleu[ja]")
    if tokenize == "ja-mecab":
        for module in ("MeCab", "ipadic"):
            require(module, "sacrebleu[ja]")
    bleu = sacrebleu.BLEU(lowercase=True, tokenize=tokenize)

    def score(target: str | Sequence[str], prediction: str) -> float:
        first_line = prediction.strip("\n").split("\n")[0]
        references = [target] if isinstance(target, str) else target
        percent = bleu.corpus_score([first_line], [[reference] for reference in references]).score
        return min(float(percent) / 100, 1.0)  # the library's exp(log) overshoots a perfect score by 4e-16

    return score_each(score, targets, predictions)


ROUGE_L = mean_of_rows("rougel", score_rouge_l)
BLEU = mean_of_rows("bleu", partial(score_bleu, tokenize="13a"))
JP_BLEU = mean_of_rows("jp-bleu", partial(score_bleu, tokenize="ja-mecab"))
