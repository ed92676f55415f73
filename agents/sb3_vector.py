"""Shows the vectorized environment to stable-baselines3, which has a vector interface of its own."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvStepReturn

from envs.vector import LayerWiseVectorEnv


class Sb3VectorEnv(VecEnv):
    """A `LayerWiseVectorEnv` as a `VecEnv`.

    Args:
        env: What to show. An environment whose episode ends starts the next one in the same step, as `VecEnv` asks.
    """

    def __init__(self, env: LayerWiseVectorEnv) -> None:
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions: NDArray[Any] = np.zeros((env.num_envs, 1), np.float32)

    def reset(self) -> NDArray[Any]:
        """Starts N episodes; returns observations (N, F)."""
        seed = self._seeds[0]
        self._reset_seeds()
        return self.env.reset(seed=seed)[0]

    def step_async(self, actions: NDArray[Any]) -> None:
        """Takes the actions (N, 1)."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Returns observations (N, F), rewards (N,), dones (N,) and one info for each episode."""
        observations, values, ended, _, batch = self.env.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(ended):
            info = infos[index]
            info.update({key: value[index] for key, value in batch.items() if not key.startswith("_")})
            info["terminal_observation"] = info.pop("final_obs")
            info["TimeLimit.truncated"] = False
        return observations, values.astype(np.float32), ended, infos

    def close(self) -> None:
        """Nothing is held open."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of the environment, once for each index."""
        return [getattr(self.env, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the environment, which all episodes share."""
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the environment, which all episodes share."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result] * len(self._chosen(indices))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """No episode is wrapped."""
        return [False] * len(self._chosen(indices))

    def _chosen(self, indices: VecEnvIndices) -> Sequence[int]:
        if indices is None:
            return range(self.num_envs)
        return list(indices) if isinstance(indices, Iterable) else [indices]
