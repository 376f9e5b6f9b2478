"""What people know from Lightning, Transformers, Keras, nanoGPT, fairseq and argparse scripts, in the words of this project.

Data for error messages alone: nothing here is accepted in the place of our own names. A line is only shown where it can
be typed as it stands (see ``suggest.py``), and only when it means what was typed: a name whose nearest relative means
something else does not belong here.
"""

from __future__ import annotations

Template = str | tuple[str, ...] | dict[str, str]

# Names -> what to type. {} is the value, {count} one that is a whole number, {metric} one without its split (eval_loss).
# A tuple: the first that this configuration has. A dict: by value, "*" for any other.
KEYS: dict[str, Template] = {
    # How long, how much at a time
    "epochs max_epochs num_epochs n_epochs nepochs num_train_epochs max_epoch": "budget.epochs={}",
    "steps max_steps num_steps n_steps max_iters num_iterations train_steps max_train_steps max_update total_steps": "budget.steps={count}",
    "max_tokens_seen train_tokens total_tokens": "budget.tokens={count}",
    "batch_size train_batch_size per_device_train_batch_size micro_batch_size device_batch_size bsz": "batching.batch_size={}",
    "eval_batch_size val_batch_size test_batch_size per_device_eval_batch_size": "batching.evaluation_batch_size={}",
    "gradient_accumulation_steps grad_accumulation_steps accumulate_grad_batches accumulation_steps accum_steps grad_accum "
    "update_freq": "trainer.accumulate_grad_batches={}",
    "seq_len seq_length sequence_length max_seq_len max_seq_length max_len maxlen max_length max_source_length block_size "
    "context_length context_size bptt tokens_per_sample": ("batching.length={}", "batching.max_length={}"),
    "n_positions max_position_embeddings max_positions n_ctx": "model.max_length={}",
    "doc_stride stride": "batching.overlap={count}",
    "max_answer_length": "task.max_answer_tokens={count}",
    "n_best_size": "task.n_best={count}",
    "version_2_with_negative squad_v2": "task.unanswerable={}",
    # Optimizer and schedule
    "lr learning_rate base_lr": "optimizer.lr={}",
    "weight_decay wd": "optimizer.weight_decay={}",
    "betas adam_betas": "optimizer.betas={}",
    "eps epsilon adam_eps adam_epsilon": "optimizer.eps={}",
    "momentum": "optimizer.momentum={}",
    "optim optimizer_name optimizer_type": "optimizer={}",
    "max_grad_norm grad_clip clip_grad clip_norm gradient_clip gradient_clipping gradient_clip_val clip_grad_norm grad_norm_clip "
    "clipnorm": "trainer.gradient_clip_val={}",
    "warmup warmup_steps warmup_iters warmup_ratio num_warmup_steps warmup_updates": "scheduler.warmup={}",
    "lr_scheduler lr_scheduler_type lr_schedule schedule scheduler_name scheduler_type": "scheduler={}",
    "label_smoothing label_smoothing_factor": "task.label_smoothing={}",
    "class_weight class_weights": "task.class_weights={}",
    "layerwise_lr_decay layer_wise_lr_decay llrd": "layer_decay={}",
    "l1_lambda l1_penalty": "l1={}",
    # The model
    "width hidden_size hidden_dim hidden_units units d_model n_embd model_dim "
    "emb_dim embed_dim embedding_dim embedding_size": ("model.width={}", "size.width={}"),
    "layers num_layers n_layers n_layer nlayers num_hidden_layers num_blocks n_blocks": "model.layers={}",
    "heads num_heads n_heads n_head nhead nheads num_attention_heads": "model.heads={}",
    "num_key_value_heads n_kv_heads num_kv_heads": "model.kv_heads={}",
    "encoder_layers num_encoder_layers": "model.encoder.layers={}",
    "decoder_layers num_decoder_layers": "model.decoder.layers={}",
    "encoder_embed_dim encoder_hidden_size": "model.encoder.width={}",
    "decoder_embed_dim decoder_hidden_size": "model.decoder.width={}",
    "intermediate_size dim_feedforward d_ff ffn_dim d_inner ff_dim mlp_dim": "model.feed_forward_width={}",
    "hidden_act activation activation_function": {"gelu": "model.feed_forward=gelu", "swiglu": "model.feed_forward=swiglu"},
    "dropout dropout_rate drop drop_rate p_dropout hidden_dropout hidden_dropout_prob resid_pdrop": "model.dropout={}",
    "position_embedding_type pos_encoding": {
        "absolute": "model.position=learned",
        **{name: f"model.position={name}" for name in ("rope", "learned", "sinusoidal", "alibi")},
    },
    "rnn_type cell_type": "model.cell={}",
    "bidirectional": {"true": "model=bilstm_encoder"},
    "tie_weights tie_word_embeddings tied_embeddings share_decoder_input_output_embed": "task.tied={}",
    "share_all_embeddings": "model.shared_embedding={}",
    "pooler pooling_type": "task.pooling={}",
    "mlm_probability mask_prob mask_probability masking_rate": "task.mask_rate={}",
    "model_name model_type arch architecture net": "model={}",
    "freeze freeze_encoder freeze_backbone freeze_base": {"true": "callbacks=[default,freeze]"},
    "unfreeze_at freeze_until": "callbacks=[default,freeze] callbacks.freeze.until={}",
    "r lora_r lora_rank lora_dim": "lora.rank={count}",
    "lora use_lora": {"true": "lora.rank=8", "*": "lora.rank={count}"},
    "peft peft_type finetuning_type": {"lora": "lora.rank=8"},
    "lora_alpha": "lora.alpha={}",
    "lora_dropout": "lora.dropout={}",
    "target_modules lora_target lora_target_modules": "lora.where={}",
    "modules_to_save additional_target": "lora.train={}",
    # Data and tokenizer
    "train data.train "
    "data.path data.file data_path data_file train_file train_path train_data training_file train_csv": "data=files data.train={}",
    "validation_file valid_file val_file dev_file eval_file val_path dev_path valid_path": "data.validation={}",
    "test_file test_path": "data.test={}",
    "data_dir data_root datadir dataset_dir data.dir": "data.root={}",
    "dataset dataset_name data_name data.name": "data={}",
    "dataset_config dataset_config_name": "data.hub_config={}",
    "text_column text_column_name text_col text_field sentence_column": "data.text={}",
    "label_column label_column_name label_col label_field target_column": "data.label={}",
    "source_lang src_lang source_language": "data.source={}",
    "target_lang tgt_lang target_language": "data.target={}",
    "val_split validation_split valid_size val_size val_ratio": "data.validation_share={}",
    "streaming": "data.streaming={}",
    "workers num_workers dataloader_num_workers": "num_workers={}",
    "vocab_size n_vocab max_features": "tokenizer.vocab_size={}",
    "lowercase lower_case do_lower_case do_lower": "tokenizer.lowercase={}",
    "tokenizer_name tokenizer_type": "tokenizer={}",
    "tokenizer_path tokenizer_file": "tokenizer.path={}",
    # The machine
    "gpus num_gpus n_gpus n_gpu ngpu": {
        "0": "trainer=cpu",
        "1": "trainer=gpu",
        "*": "trainer=ddp trainer.accelerator=gpu trainer.devices={}",
    },
    "device accelerator": {"cpu": "trainer=cpu", "mps": "trainer=mps", **dict.fromkeys(("gpu", "cuda", "cuda:0"), "trainer=gpu")},
    "cuda use_cuda use_gpu": {"true": "trainer=gpu", "false": "trainer=cpu"},
    "no_cuda use_cpu cpu": {"true": "trainer=cpu"},
    "devices": "trainer.devices={}",
    "num_nodes nnodes": "trainer=ddp trainer.num_nodes={}",
    "strategy": {"ddp": "trainer=ddp", "fsdp": "trainer=fsdp"},
    "precision dtype mixed_precision": {
        **dict.fromkeys(("fp16", "float16", "16", "16-mixed"), "trainer.precision=16-mixed"),
        **dict.fromkeys(("bf16", "bfloat16", "bf16-mixed"), "trainer.precision=bf16-mixed"),
        **dict.fromkeys(("fp32", "float32", "32", "32-true", "no"), "trainer.precision=32-true"),
    },
    "fp16 amp use_amp": {"true": "trainer.precision=16-mixed", "false": "trainer.precision=32-true"},
    "bf16": {"true": "trainer.precision=bf16-mixed", "false": "trainer.precision=32-true"},
    "n_threads num_threads": "threads={}",
    "torch_compile compile_model use_compile": "compile={}",
    # Watching and saving
    "output_dir out_dir output_path save_dir log_dir checkpoint_dir logging_dir default_root_dir work_dir": "hydra.run.dir={}",
    "name exp_name experiment_name task_name wandb.name wandb_name wandb_run_name": "run_name={}",
    "random_seed seed_everything manual_seed": "seed={}",
    "eval_every eval_steps eval_interval val_every val_interval val_check_interval validate_interval_updates": "validate_every={count}",
    "callbacks.checkpoints.every save_steps save_every "
    "save_interval checkpoint_every every_n_train_steps save_interval_updates": "checkpoint_every={count}",
    "logging_steps log_every log_every_n_steps log_interval log_steps": "callbacks.step_logger.every={count}",
    "patience early_stopping_patience": "callbacks=[default,early_stopping] callbacks.early_stopping.patience={}",
    "early_stopping early_stop": {"true": "callbacks=[default,early_stopping]"},
    "ema use_ema": {"true": "callbacks=[default,ema]"},
    "swa use_swa stochastic_weight_avg": {"true": "callbacks=[default,swa]"},
    "ema_decay": "callbacks=[default,ema] callbacks.ema.decay={}",
    "metric_for_best_model monitor_metric best_metric": "monitor=validation/{metric}",
    "wandb_project": "wandb.project={}",
    "wandb_mode": "wandb.mode={}",
    "wandb_entity": "wandb.entity={}",
    "wandb use_wandb wandb_log": {"true": "logger=wandb", "false": "logger=none"},
    "report_to": {"wandb": "logger=wandb", "tensorboard": "logger=tensorboard", "none": "logger=none"},
    "fast_dev_run debug_mode smoke_test": {"true": "debug=default", "1": "debug=default"},
    "overfit_batches": {"1": "debug=overfit"},
    "detect_anomaly": {"true": "debug=anomaly"},
    # Starting from, going on with, using a run
    "pretrained_path pretrained_checkpoint load_from init_checkpoint": "init_from={}",
    "resume resume_from resume_from_checkpoint resume_path restore_from": {
        "true": "groundup resume run=last",
        "false": "",
        "*": "groundup resume run={}",
    },
    "checkpoint ckpt checkpoint_path ckpt_path model_path run_dir run_path model_dir": "run={}",
    "run sweep": "folders=[{}]",  # of groundup report
    "input_file input_path in_file file": ("input={}", "data=files data.train={}"),
    "output_file out_file": "output={}",
    "start prompt_text": "prompt={}",
    "num_return_sequences num_samples n_samples": "samples={}",
    "do_sample": {"true": "decoding=sample", "false": "decoding=greedy"},
    "temperature temp": "decoding.temperature={}",
    "top_k topk": "decoding.top_k={}",
    "top_p topp nucleus_p": "decoding.top_p={}",
    "num_beams beam beams beam_size beam_width": ("task.decoding.beam_size={}", "decoding=beam decoding.beam_size={}"),
    "length_penalty lenpen": ("task.decoding.length_penalty={}", "decoding=beam decoding.length_penalty={}"),
    "repetition_penalty": ("decoding.repetition_penalty={}", "task.decoding.repetition_penalty={}"),
    "no_repeat_ngram no_repeat_ngram_size": ("decoding.no_repeat_ngram={}", "task.decoding.no_repeat_ngram={}"),
    "max_new_tokens max_gen_len": ("decoding.max_new_tokens={}", "task.decoding.max_new_tokens={}"),
}  # fmt: skip

# Choices: group -> names -> ours. {kind} is what the task needs: encoder, decoder or encoder_decoder.
CHOICES: dict[str, dict[str, str]] = {
    "model": {
        "gpt gpt2 gpt3 gpt_2 nanogpt llama llama2 llama3 mistral qwen opt": "transformer_decoder",
        "bert bert_base bert_base_uncased bert_base_chinese roberta distilbert albert electra deberta": "transformer_encoder",
        "t5 bart mt5 marian pegasus seq2seq seq_to_seq encoder_decoder": "transformer_encoder_decoder",
        "transformer": "transformer_{kind}",
        "lstm": "lstm_{kind}",
        "gru rnn": "lstm_{kind} model.cell={}",
        "bilstm blstm bi_lstm": "bilstm_encoder",
        "bigru": "bilstm_encoder model.cell=gru",
        "decoder": "transformer_decoder",
        "encoder": "transformer_encoder",
    },
    "task": {
        "sentiment sentiment_analysis text_classification sequence_classification classify classifier cls topic nli "
        "paraphrase multiclass": "classification",
        "ner named_entity_recognition pos pos_tagging token_classification sequence_labeling": "tagging",
        "lm clm language_model language_modeling language_modelling causal next_token gpt": "causal_lm",
        "mlm masked masked_language_modeling fill_mask bert": "masked_lm",
        "mt nmt translate machine_translation": "translation",
        "summarize summarise summarisation summary": "summarization",
        "t5 span_masking": "span_corruption",
        "bart text_infilling infilling": "denoising",
        "qa squad mrc extractive_qa reading_comprehension": "question_answering",
        "regress regressor sts sts_b semantic_similarity text_regression rating": "regression",
    },
    "data": {
        "sst sst_2 glue_sst2": "sst2",
        "agnews ag": "ag_news",
        "shakespeare tiny_shakespeare": "tinyshakespeare",
        "wikitext wikitext_2": "wikitext2",
        "wikitext_103": "wikitext103",
        "tiny_stories": "tinystories",
        "mr rt movie_reviews rottentomatoes": "rotten_tomatoes",
        "trec trec_6": "trec6",
        "dbpedia14 dbpedia_14": "dbpedia",
        "tatoeba": "tatoeba_en_zh",
        "date": "dates",
        "file csv tsv json jsonl txt text local custom own mine": "files",
    },
    "tokenizer": {
        "bpe bbpe byte gpt2 gpt": "byte_bpe",
        "bert word_piece bert_base_uncased bert_base_chinese": "wordpiece",
        "sentencepiece spm t5": "unigram",
        "character characters chars": "char",
        "words": "word",
    },
    "optimizer": {
        "muon": "muon_adamw",
        "adam_w adamw_torch adamw_hf adamw_torch_fused": "adamw",
        "momentum": "sgd",
    },
    "scheduler": {
        "cosine_annealing cosine_with_warmup cosineannealinglr": "cosine",
        "linear_with_warmup": "linear",
        "none": "constant",
        "noam inverse_square_root": "inverse_sqrt",
        "warmup_stable_decay trapezoid trapezoidal": "wsd",
    },
    "trainer": {
        "cuda gpus": "gpu",
        "distributed multi_gpu ddp_spawn": "ddp",
        "fsdp2": "fsdp",
        "apple metal m1": "mps",
    },
    "decoding": {"sampling nucleus": "sample", "beam_search beams": "beam", "argmax": "greedy"},
    "batching": {"pack packing": "packed", "bucket buckets": "bucketed", "max_tokens": "token_budget"},
    "augmentation": {"null false": "none"},
    "self_training": {"null false": "none"},
    "logger": {"tb": "tensorboard", "wb weights_and_biases": "wandb", "csv null false": "none"},
    "launcher": {
        "joblib multiprocessing parallel processes local ray": "pool launcher.jobs=2",
        "basic none sequential": "serial",
        "submitit submitit_slurm sbatch": "slurm",
        "submitit_local": "slurm launcher.cluster=local",
    },
    "callbacks": {"null false": "none"},
    "debug": {"true fast_dev_run": "default", "overfitting overfit_batches": "overfit", "nan detect_anomaly": "anomaly"},
}  # fmt: skip

# Where a name has no counterpart, the reason.
NOTES = {
    "num_labels num_classes n_classes": "classes are counted in the training split; for a fixed order: data.labels=[a,b]",
    "attention_dropout attention_probs_dropout_prob attn_pdrop attn_dropout": "dropout is never on attention weights",
    "checkpoint ckpt checkpoint_path ckpt_path": "init_from=RUN starts from its weights; groundup resume run=RUN goes on with it",
    "beta1 beta2 beta_1 beta_2 adam_beta1 adam_beta2": "both in one list, as in optimizer.betas=[0.9,0.95]",
    "shuffle": "the training split is always shuffled, by seed",
    "budget": "it has a unit: budget.steps, budget.tokens, budget.epochs or budget.minutes",
    "pretrained pretrained_model model_name_or_path": "init_from=RUN starts from a run; `groundup import path=FOLDER` "
    "makes one of the weights of others",
    "eval_strategy evaluation_strategy save_strategy val_check_interval check_val_every_n_epoch": "validate_every and "
    "checkpoint_every count optimizer steps; the last step is always validated and saved",
    "load_best_model_at_end save_best_only save_top_k": "the best checkpoint by monitor=validation/METRIC is always kept and used",
    "save_total_limit": "three checkpoints are kept: best, last and the one before",
    "loss criterion loss_fn metrics compute_metrics": "each task has its loss and its metrics; monitor=validation/METRIC chooses by one",
    "enable_progress_bar progress_bar disable_tqdm verbose": "the progress line is left out where the output is no terminal",
    "n_jobs num_jobs n_parallel parallel max_parallel": "launcher=pool launcher.jobs=2 runs two jobs of a sweep (-m) at a time",
    "hparams_search sweeper hydra_sweeper": "`-m sweep=optuna` searches, with sweep.trials=20 'optimizer.lr=tag(log,interval(1e-4,1e-2))'",
    "print_config": "`--cfg job` prints the whole configuration",
    "do_train do_eval do_predict": "each is a verb of its own: groundup finetune, groundup evaluate, groundup predict",
    "tokenizer=jieba tokenizer=hanlp tokenizer=pkuseg tokenizer=ltp tokenizer=mecab": "nothing here cuts text into words; "
    "tokenizer=char reads it by characters, and data.tokens=COLUMN takes lists of words",
    "task=seq2seq task=text2text task=sequence_to_sequence": "translation and summarization write a text for a text",
}  # fmt: skip


def by_name(table: dict) -> dict:
    """One entry a name, of a table with several names an entry."""
    return {name: entry for names, entry in table.items() for name in names.split()}


def normalised(name: str) -> str:
    """``--Batch-Size`` -> ``batch_size``."""
    return name.lstrip("-+~").replace("-", "_").lower()
