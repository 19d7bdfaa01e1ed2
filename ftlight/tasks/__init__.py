"""The shipped tasks, one folder each.

``HOMES`` says where each class that a config may name is defined, without importing it.
"""

HOMES = {
    "CausalLM": "ftlight.tasks.causal_lm.task",
    "ChatData": "ftlight.tasks.causal_lm.data",
    "ImageClassification": "ftlight.tasks.image_classification.task",
    "ImageData": "ftlight.tasks.image_classification.data",
    "MaskedData": "ftlight.tasks.masked_lm.data",
    "MaskedLM": "ftlight.tasks.masked_lm.task",
    "QAData": "ftlight.tasks.question_answering.data",
    "QuestionAnswering": "ftlight.tasks.question_answering.task",
    "Retrieval": "ftlight.tasks.retrieval.task",
    "RetrievalData": "ftlight.tasks.retrieval.data",
    "Seq2Seq": "ftlight.tasks.seq2seq.task",
    "Seq2SeqData": "ftlight.tasks.seq2seq.data",
    "TextClassification": "ftlight.tasks.text_classification.task",
    "TextData": "ftlight.tasks.text_classification.data",
    "TokenClassification": "ftlight.tasks.token_classification.task",
    "TokenData": "ftlight.tasks.token_classification.data",
}
