"""Who samples the answers of a phase: one file each, found by walking this folder; `rollout.backend` names one."""
