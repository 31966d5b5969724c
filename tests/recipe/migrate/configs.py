"""Configurations in the formats of three tools, written for these tests."""

TRL_LORA = """\
model_name_or_path: {model}
dataset_name: {rows}
output_dir: {output}
learning_rate: 1e-3
num_train_epochs: 1
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
lr_scheduler_type: cosine
warmup_ratio: 0.25
max_steps: 4
max_length: 128
packing: true
bf16: false
gradient_checkpointing: false
use_peft: true
lora_r: 4
lora_alpha: 8
lora_dropout: 0.0
lora_target_modules: [q_proj, v_proj]
save_steps: 2
logging_steps: 1
report_to: none
optim: adamw_torch_fused
seed: 7
eos_token: </s>
neftune_noise_alpha: 5
push_to_hub: false
hub_model_id:
moon_phase: full
"""

TRL_FULL = """\
model_name_or_path: acme/tiny-1b
datasets:
  - path: acme/chats
    split: train_sft
  - {{path: json, data_files: extra.jsonl, fraction: 0.2}}
test_split_size: 0.1
eval_strategy: steps
eval_steps: 25
max_length: 2048
max_seq_length: 2048
assistant_only_loss: true
report_to: [wandb, comet_ml]
load_in_8bit: false
"""

AXOLOTL_LORA = """\
base_model: {model}
model_type: AutoModelForCausalLM
load_in_8bit: true
load_in_4bit: false
strict: false

datasets:
  - path: {rows}
    type:
      field_instruction: prompt
      field_output: completion
      format: "{{instruction}}"
dataset_prepared_path: prepared
val_set_size: 0.1
output_dir: {output}

adapter: lora
lora_model_dir:
lora_r: 4
lora_alpha: 8
lora_dropout: 0
lora_target_linear: true
peft_use_rslora: true

sequence_len: 128
sample_packing: true
pad_to_sequence_len: true
gradient_accumulation_steps: 2
micro_batch_size: 3
num_epochs: 1
max_steps: 3
optimizer: paged_adamw_8bit
adam_beta2: 0.95
lr_scheduler: linear
learning_rate: "2e-3"
warmup_steps: 1
bf16: no
flash_attention: true
early_stopping_patience: 3
wandb_project:
weight_decay: 0.01
eval_steps: 2
save_steps: 2
special_tokens:
  pad_token: <pad>
"""

AXOLOTL_CHAT = """\
base_model: acme/tiny-1b
chat_template: chatml
datasets:
  - path: acme/chats
    type: chat_template
    field_messages: conversations
    message_property_mappings: {{role: from, content: value}}
    roles_to_train:
    train_on_eos:
  - path: chats.jsonl
    ds_type: json
    type: chat_template
    roles_to_train: [assistant, user]
  - path: acme/stories
    name: english
    split: validation
    type: completion
    field: story
test_datasets:
  - {{path: held.jsonl, type: chat_template}}
micro_batch_size: 2
sequence_len: 4096
num_epochs: 1.5
learning_rate: 1e-5
bf16: auto
train_on_inputs: true
evals_per_epoch: 2
wandb_project: tickets
gradient_checkpointing: true
lr_scheduler: rex
"""

FACTORY_LORA = """\
### model
model_name_or_path: {model}
trust_remote_code: false
### method
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 4
### dataset
dataset: sums
dataset_dir: {folder}
template: qwen
cutoff_len: 128
max_samples: 30
overwrite_cache: true
preprocessing_num_workers: 16
### output
output_dir: {output}
logging_steps: 10
save_steps: 2
plot_loss: true
overwrite_output_dir: true
### train
per_device_train_batch_size: 2
gradient_accumulation_steps: 4
learning_rate: 1.0e-3
num_train_epochs: 1.0
max_steps: 3
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: false
ddp_timeout: 180000000
### eval
val_size: 0.1
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 2
"""

FACTORY_FULL = """\
model_name_or_path: acme/tiny-1b
stage: sft
finetuning_type: full
deepspeed: ds_z3.json
dataset: chats,tools,unheard
eval_dataset: held
dataset_dir: {folder}
template: chatml
mask_history: true
packing: true
cutoff_len: 2048
per_device_train_batch_size: 1
learning_rate: 1.0e-5
lr_scheduler_type: polynomial
quantization_bit: 4
bf16: true
"""

DATASET_INFO = {
    "sums": {"file_name": "sums.json", "columns": {"prompt": "question", "response": "answer", "images": "pictures"}},
    "chats": {
        "hf_hub_url": "acme/chats",
        "split": "train_sft",
        "formatting": "sharegpt",
        "columns": {"messages": "talk"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    },
    "tools": {"file_name": "tools.json", "formatting": "sharegpt"},
    "held": {"file_name": "held.json", "formatting": "sharegpt"},
    "pairs": {"file_name": "pairs.json", "ranking": True},
}
