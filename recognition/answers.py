"""The answer of a model to one image: the one definition of its fields, for the service, its documentation and batches.

`recognition/model.py` computes the answers, as dictionaries with exactly these keys.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """One model's answer to one image."""

    model_config = ConfigDict(protected_namespaces=())

    prediction: int = Field(description="index of the most probable class", examples=[8])
    confidence: float = Field(description="probability of the predicted class, 0..1", examples=[0.991])
    probabilities: list[float] = Field(
        description="probability of each class; they add up to 1", examples=[[0.001] * 8 + [0.991, 0.001]]
    )
    model: str = Field(description="name of the model", examples=["cnn"])
    version: str = Field(description="version of the model in the registry", examples=["3"])
    uncertain: bool = Field(description="true if the answer is unreliable; `reason` tells why", examples=[False])
    reason: Literal["blank", "low_confidence", "not_a_digit"] | None = Field(examples=[None])
