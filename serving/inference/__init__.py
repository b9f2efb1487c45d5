"""The served models: loaded, replaced after promotions, batched, explained."""
