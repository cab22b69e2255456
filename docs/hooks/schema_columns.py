"""What the columns mean that a user reads: names and types come from the schemas, these sentences stand here."""

from collections.abc import Mapping

Columns = Mapping[str, str]
"""Column -> its meaning, in the order of the schema."""

MEANINGS: Mapping[str, Columns] = {
    "prediction": {
        "id": "The row. Join on it: Ray Data does not keep the order of rows.",
        "task": "Name of the task.",
        "group": "Rows that are scored together.",
        "metric": "The row's own metric. Null: the task's.",
        "target": "The right answer, as JSON text.",
        "messages": "The chat turns that the model was given.",
        "sampling_params": "Temperature, `max_tokens` and the constraint on decoding, as JSON text.",
        "error": "`REASON: message` of a failed row, else null. See [Troubleshooting](../troubleshooting.md).",
        "generated_text": "What the model wrote.",
        "finish_reason": "`stop`, or `length` when the answer was cut off at `max_tokens`.",
        "num_input_tokens": "Tokens of the prompt.",
        "num_generated_tokens": "Tokens of the answer.",
        "prediction": "The answer as the task's parser read it, as JSON text. Null for a failed row.",
        "engine_seconds": "The row's share of the time in which the engines were busy. Null where none was measured.",
        "confidence": "How sure the model was: the mean probability of its tokens. Null without `infer.confidence`.",
        "switch_seconds": "What an exchange of weights took right before this row. Null where there was none.",
    },
    "table": {
        "product_id": "The product.",
        "task": "The name in `enrich.tasks` under which it was asked. One row for each product and name.",
        "status": "`enriched`, `empty`, `quarantined` or `deleted`.",
        "prediction": "The answer, as JSON text.",
        "text": "The answer, where it is text.",
        "entities": "The answer, where it is a list of spans with their types.",
        "key": "Digest of all that determines the answer.",
        "prediction_key": "The `key` that the prediction answers. Another one where tonight's question is in trouble.",
        "prompt_id": "The prompt that asked. The run's record has it in words. Null where an earlier version asked.",
        "task_version": "The task's version that asked.",
        "model_digest": "Digest of the model that answered.",
        "run_id": "The run that asked.",
        "num_input_tokens": "Tokens of the prompt. Products with equal prompts share one answer and its numbers.",
        "num_generated_tokens": "Tokens of the answer.",
        "inferred_at": "When the model answered.",
        "updated_at": "When the row was written.",
        "reviewers": "Keyed digests of the users whose reviews the answer was made from. Null where there are none.",
        "confidence": "How sure the model was: the mean probability of its tokens. Null without `infer.confidence`.",
        "bucket": "Which part of the products the row belongs to. A file holds rows of one part.",
    },
    "quarantine": {
        "fingerprint": "The trouble. The same over all runs.",
        "product_id": "The product. Null for input that could not be read.",
        "task": "What was asked about it. Null for input that could not be read.",
        "stage": "Where it went wrong: `read`, `prompt`, `engine` or `answer`.",
        "reason": "Reason code. See [Troubleshooting](../troubleshooting.md).",
        "message": "The reason in words, at most 300 characters.",
        "attempts": "How often it was tried.",
        "key": "Digest of the question.",
        "path": "The file it comes from.",
        "line": "The line in that file.",
        "run_id": "The run that found it.",
        "updated_at": "When the row was written.",
        "bucket": "Which part of the products the row belongs to. A file holds rows of one part.",
    },
}
