"""What may happen in a history, and how likely it is."""

from collections.abc import Sequence

from hypothesis import strategies as st

OWNERS = ("ana", "ben")

index = st.integers(0, 10**6)
"""Which of the things that are there: the nth, modulo their number."""

HAPPENINGS = (
    *("claim", "claim", "claim", "claim", "claim", "claim"),
    *("a_task_changes_hands", "a_task_changes_hands", "leases_end", "two_keepers_expire_at_once"),
    *("a_publish_meets_an_expiry", "time_passes", "a_keeper_cancels_what_is_overdue", "two_keepers_fold_at_once"),
    *("a_worker_joins", "a_worker_stops", "a_worker_dies"),
    *("a_person_drains_a_worker", "a_person_restores_a_worker", "a_person_restores_a_worker"),
    *("turns_change", "turns_change", "a_plan_is_made", "a_plan_is_made", "a_plan_grows_old"),
    *("pause", "pause", "resume", "retry", "retry", "prioritize", "cancel"),
)
WRITES = (
    *("publish", "publish", "publish_twice", "hand_back"),
    *("fail", "fail", "fail", "fail_for_good", "fail_for_good", "adopt"),
)
"""What may happen, and what a worker may write; one named twice is twice as likely."""


def any_of(options: Sequence[str]) -> st.SearchStrategy[str]:
    """Each as likely as the next, which `sampled_from` does not promise: it favours the first."""
    return st.integers(0, 2**16).map(lambda n: options[n * 40503 % 65537 % len(options)])


requests = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(OWNERS),
        "priority": st.sampled_from([40, 50, 60]),
        "prompts": st.lists(
            st.fixed_dictionaries(
                {
                    "prompt": st.just("a fox"),
                    "width": st.sampled_from([512, 768]),
                    "images_per_prompt": st.integers(1, 3),
                }
            ),
            min_size=1,
            max_size=3,
        ),
        "is_old": st.booleans(),
        "not_before": st.sampled_from([None, None, None, "2999-01-01T00:00:00Z"]),
        "deterministic": st.sampled_from([False, False, True]),
    }
)
