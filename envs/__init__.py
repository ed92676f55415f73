"""The Gymnasium environment of layer-wise channel pruning, registered as `ProfileSearch/LayerWise-v0`."""

from gymnasium.envs.registration import register, registry

ENV_ID = "ProfileSearch/LayerWise-v0"

if ENV_ID not in registry:
    register(
        id=ENV_ID,
        entry_point="envs.layerwise:LayerWiseEnv",
        vector_entry_point="envs.vector:LayerWiseVectorEnv",
    )
