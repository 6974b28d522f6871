"""The glossary of the page: every term of a report in plain words.

The page makes a button of the first place where a caption, a heading or a text names a term; the button shows the
explanation. The whole list stands at the page's end.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

__all__ = ["TERMS", "Term", "terms_in"]


@dataclass(frozen=True)
class Term:
    """A term and its explanation."""

    name: str
    text: str
    """Explanation, at most three sentences."""
    spellings: tuple[str, ...] = ()
    """Other spellings that a text may have, such as the plural."""
    source: str = ""
    """Where it was published; empty if it needs no source."""

    @property
    def anchor(self) -> str:
        """The id of its explanation on the page."""
        return "term-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


TERMS = (
    # scores
    Term(
        "weighted F1",
        "The F1 of each class, averaged with the class's share of the test samples as its weight. Frequent classes "
        "count more. 1 is perfect.",
    ),
    Term(
        "macro F1",
        "The plain average of the F1 of all classes. A rare class counts as much as a frequent one.",
    ),
    Term(
        "F1",
        "The harmonic mean of precision (how many predictions of a class are right) and recall (how many of its "
        "samples are found). It lies between 0 and 1; 1 is perfect.",
    ),
    Term("accuracy", "The share of test samples whose class is predicted correctly."),
    Term(
        "balanced accuracy",
        "The mean recall of the classes: a classifier that always says the most frequent class gets no more than 1 "
        "divided by the number of classes. Speech research calls it unweighted average recall.",
        ("Balanced accuracy",),
    ),
    Term(
        "average precision",
        "The area under the curve of precision over recall, for one label. It needs no threshold.",
        ("Average precision",),
    ),
    Term("NLL", "Mean negative log probability of the true class, in nats. Lower is better."),
    Term(
        "Brier score",
        "The squared error of the predicted probabilities. Lower is better.",
        source="Brier 1950, Monthly Weather Review 78",
    ),
    Term(
        "ECE",
        "Expected calibration error: how far the predicted confidence is from the share of right predictions. Lower is "
        "better.",
        ("expected calibration error",),
        "Guo et al. 2017, ICML",
    ),
    Term(
        "confusion matrix",
        "A table that counts, for each true class, how often each class was predicted.",
        ("confusion matrices", "Confusion matrices"),
    ),
    # what is compared
    Term(
        "method",
        "One way to turn features into a representation: a subset of the three losses, or a baseline.",
        ("methods",),
    ),
    Term(
        "loss",
        "What a head is trained to make small. Con pulls the modalities of one clip together, Clu pulls clips of one "
        "cluster together, Gen rebuilds the features. ConCluGen uses all three.",
        ("losses",),
        "Chen et al. 2021, ICCV (multimodal clustering networks)",
    ),
    Term(
        "head",
        "The small network on top of the frozen features that pretraining changes.",
        ("heads",),
    ),
    Term(
        "random head",
        "The head as it is before training. What it scores, pretraining did not add.",
        ("random_head",),
    ),
    Term("raw features", "The frozen features without any head.", ("raw_features",)),
    Term("raw_pca", "The principal components of each modality's frozen features, whitened, without any head."),
    Term(
        "label_spreading",
        "A classifier without pretraining: labels spread from the labelled samples to their nearest neighbours among "
        "the raw features.",
        source="Zhou et al. 2004, NeurIPS",
    ),
    Term("supervised_head", "The same head, trained from the start on the labelled samples instead of pretrained."),
    Term(
        "SimCLR",
        "A head that is pretrained on two distorted views of one modality, instead of on several modalities.",
        source="Chen et al. 2020, ICML",
    ),
    Term(
        "baseline",
        "A method without the losses that are studied, such as the raw features. A loss is worth having only if it "
        "beats the baselines.",
        ("baselines",),
    ),
    Term(
        "label budget",
        "How many labelled training samples the probe may use: so many per class, a percentage of them, or all.",
        ("label budgets",),
    ),
    Term(
        "probe",
        "The simple classifier that is trained on a frozen representation with labels. Its test score is the score of "
        "the method.",
        ("probes",),
    ),
    Term(
        "instrument",
        "A way to measure how good a representation is: the sweep's probe, or another one such as nearest neighbours. "
        "A result that depends on the instrument is less certain.",
        ("instruments",),
    ),
    # how sure it is
    Term(
        "95 % interval",
        "The values that fit the data. If everything were repeated many times, 95 of 100 such intervals would hold the "
        "true value. It covers other confirmation seeds, test samples and, if there were several, searches together.",
        ("95 % intervals",),
        "Obuchowski and Rockette 1995; Hillis 2007",
    ),
    Term(
        "standard error",
        "How far a score typically is from its true value, by chance. The parts of the chance add up by their squares.",
        ("standard errors",),
    ),
    Term(
        "seed error",
        "The part of the standard error that comes from training: initial weights, order of the data, label draws. "
        "More confirmation seeds make it smaller.",
        ("error by seeds",),
    ),
    Term(
        "sample error",
        "The part of the standard error that comes from the choice of test samples. Only more test samples make it "
        "smaller.",
        ("error by test samples",),
    ),
    Term(
        "search error",
        "The part of the standard error that comes from the search: another search may choose other hyperparameters. "
        "It is known only if the search was repeated.",
        ("error by searches", "error by search"),
    ),
    Term(
        "p value",
        "How often chance alone would give a difference at least this large if the methods were equal. A small p "
        "speaks against equal methods.",
        ("p values", "p value of"),
    ),
    Term(
        "Holm",
        "A correction of p values for many tests at once, so that at most 5 % of whole families of tests hold a false "
        "finding.",
        ("Holm's method", "Holm's correction"),
        "Holm 1979, Scandinavian Journal of Statistics 6",
    ),
    Term(
        "settled",
        "Chance alone would rarely give such a difference: its p value is below 0.05 after Holm's correction.",
    ),
    Term(
        "equal",
        "The whole interval of the difference lies within the limit of what matters (±0.01 unless the user chose "
        "another). Which of the two is used does not matter.",
        source="Lakens 2017, Social Psychological and Personality Science 8",
    ),
    Term(
        "open",
        "Neither settled nor equal: these data cannot tell. The table says how many more confirmation seeds or "
        "searches would decide it if the difference stays as it is.",
    ),
    Term(
        "improvement",
        "The share of pairs of runs, one of each method, in which the first method scores higher. 0.5 is a coin's "
        "flip.",
        ("Improvement", "probability of improvement"),
        "Agarwal et al. 2021, NeurIPS",
    ),
    Term(
        "confirmation seed",
        "A fresh training of a chosen configuration with other random numbers. Its test scores are the ones that "
        "reports show.",
        ("confirmation seeds", "confirmation run", "confirmation runs"),
    ),
    # effects of the losses
    Term(
        "Shapley value",
        "What a loss adds, averaged over all orders in which the three losses can be added one by one. The three "
        "values sum to the gain of ConCluGen over the random head.",
        ("Shapley values",),
        "Shapley 1953",
    ),
    Term(
        "main effect",
        "Mean score with a loss minus mean score without it, over all combinations of the other losses.",
        ("main effects", "Main effects"),
        "Box, Hunter and Hunter, Statistics for Experimenters, chapter 5",
    ),
    Term(
        "interaction",
        "How much one loss changes the effect of another. Above 0, they help each other.",
        ("interactions",),
    ),
    Term(
        "factorial design",
        "All eight combinations of the three losses, so that every effect can be computed.",
    ),
    # the search
    Term(
        "search",
        "Trying many configurations of a method, each scored on validation data, to find a good one.",
        ("searches",),
    ),
    Term("trial", "One configuration that a search tries.", ("trials",)),
    Term("pruned", "Stopped early, because its first scores were low."),
    Term(
        "objective",
        "The validation score that the search makes as high as it can. The search never sees test data.",
    ),
    Term(
        "finalist",
        "One of the best configurations of a search, trained anew with fresh seeds and scored on validation data. The "
        "best mean of these runs wins, which guards against luck.",
        ("finalists",),
    ),
    Term(
        "winner's curse",
        "The best of many noisy scores is partly luck, so it is lower when measured again. Search optimism says by how "
        "much.",
        ("Winner's curse", "search optimism"),
    ),
    Term(
        "expected best",
        "The best objective that a search of so many trials reaches on average.",
        ("Expected best",),
        "Dodge et al. 2019; Tang et al. 2020",
    ),
    Term(
        "rank correlation",
        "How well two scores agree on the order of the methods: 1 is the same order, 0 is no relation, −1 the reverse.",
        ("Rank correlation", "rank correlations"),
    ),
    Term(
        "fANOVA",
        "A random forest predicts the objective from the hyperparameters. The importance of a hyperparameter is its "
        "share of the variance of these predictions.",
        source="Hutter et al. 2014, ICML",
    ),
    Term(
        "PED-ANOVA",
        "Importance of a hyperparameter by how differently it is distributed among the best trials and among all "
        "trials.",
        source="Watanabe et al. 2023, IJCAI",
    ),
    Term(
        "ledger record",
        "What is written down of one finished job: its configuration, scores and hardware. Every number names the "
        "records that it is computed from.",
        ("ledger records", "records"),
    ),
)
"""All terms, in the order of the glossary."""


@cache
def _pattern() -> tuple["re.Pattern[str]", dict[str, Term]]:
    by_spelling = {spelling: term for term in TERMS for spelling in (term.name, *term.spellings)}
    longest_first = sorted(by_spelling, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"), by_spelling


def terms_in(text: str, seen: set[Term]) -> Iterator[tuple[str, Term | None]]:
    """Yield the text in pieces; the first place of each term comes with the term.

    The pieces joined are the text again.

    Args:
        text: plain text.
        seen: terms that were explained before, which stay text; those of this text are added.
    """
    pattern, by_spelling = _pattern()
    end = 0
    for match in pattern.finditer(text):
        term = by_spelling[match[0]]
        if term in seen:
            continue
        seen.add(term)
        yield text[end : match.start()], None
        yield match[0], term
        end = match.end()
    yield text[end:], None
