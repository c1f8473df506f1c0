/**
 * Every error code, by error class: when the error occurs, and what a caller can do about it. `errors.ts` makes its types from this
 * list, and `npm run docs:errors` generates docs/errors.md from it. The library imports only types from this file, so no bundle contains
 * the text.
 */

/** The codes that the library and the page throw. */
export const errorCodes = {
  InputError: {
    'adapter-name': 'A LoRA is not loaded, or a name is in use. The message lists the loaded ones.',
    'adapter-weights':
      '`adapterWeights` is not a number, or has not one number for each name, or `loraScale` is for a LoRA that is not active. Correct it.',
    'bad-device': 'A device is not `auto`, `webgpu`, `webgpu:1` or `wasm`. Use one of these.',
    'bad-kernels': 'The option `kernels` is not `aquatint` or `onnxruntime`. Use one of these.',
    'bad-device-map':
      '`deviceMap` is malformed, names an unknown component or device, or contradicts `device` or `offload`. Correct it.',
    'bad-memory-size': 'A memory size is not a number of bytes or a text such as `6GB`. Correct it.',
    'bad-pieces': 'Tensor slices to be joined do not fit the result. An error in the code that calls the runtime.',
    'bad-png-keyword': 'A keyword of PNG text is empty, too long or not Latin-1. Choose another keyword.',
    'bad-preparation': 'Parts of a converted file overlap, or exceed the source file. An error in the code that calls the hub.',
    'bad-repository-id': 'The model is not written as `owner/name`, a URL or a path. Correct it.',
    'bad-revision': '`revision` is not a branch, tag or commit. Correct it.',
    'bad-tensor': 'A tensor belongs to another runtime. Use tensors of the same device.',
    'bad-terms': 'The terms of a weighted sum are invalid. An error in the code that calls the runtime.',
    'bad-token':
      'The access token contains characters that cannot be part of a token, such as a space or a line break. Copy the token again.',
    'bad-url': 'A URL is not http(s), or contains a user name or password. Correct it.',
    capture: '`capture` names a tensor that does not exist. The message lists the names.',
    'clip-skip': '`clipSkip` is not between 0 and the number of layers. Choose a smaller value.',
    'component-disposed': 'A network was run after it was disposed. Load it again.',
    components:
      '`components` names a component that the pipeline does not have, leaves out a required one, or is empty. The message lists the names.',
    dtype: '`dtype` is not a known type, or names an unknown component. The message lists what is allowed.',
    eta: '`eta` is not between 0 and 1. Correct it.',
    'guidance-rescale':
      '`guidanceRescale` is not between 0 and 1, or `cfgNormalization` or `cfgTruncation` is not a number in range. Correct it.',
    'guidance-scale': '`guidanceScale` or `trueCfgScale` is not a number in range. Correct it.',
    image: 'The start image has a size that the model cannot take, or cannot be decoded. Resize it or choose another.',
    'input-missing': 'A network was run without one of its inputs.',
    'invalid-hidden-state': 'A hidden state was requested that the text encoder does not have. Choose a smaller index.',
    'invalid-settings': 'A field of the prompt box holds an invalid value. The field shows what is allowed.',
    'invalid-shape': 'A network was requested for a shape that it cannot have. The message says which shapes are allowed.',
    'max-sequence-length': '`maxSequenceLength` is not a whole number from 1 to 512. Correct it.',
    'no-model': 'The prompt box has no model. Set `model`.',
    'not-a-png': 'A file is not a PNG, or is cut short. Choose another file.',
    'num-images-per-prompt': '`numImagesPerPrompt` is out of range. Correct it.',
    'num-inference-steps': '`numInferenceSteps` is not a whole number in the range of the scheduler. Correct it.',
    offload: '`offload` is not `auto`, `resident`, `model` or `block`. Use one of these.',
    'pipeline-disposed': 'The pipeline was used after `dispose()`. Load it again.',
    'preview-every': '`previewEvery` is not a whole number in range. Correct it.',
    prompt: 'A prompt is not text or a list of texts, or is too long, or lists differ in length. The message says which.',
    'prompt-embeds':
      'Prompt embeddings have a shape that the model does not take, or are given together with a prompt. The message says what to change.',
    'prompt-weighting': '`promptWeighting` is not `a1111` or `compel`, or the pipeline takes no weights. Leave it out.',
    'quantize-options': 'The number of bits or the block size is not supported, or does not divide the weight. Choose another.',
    'range-out-of-bounds': 'Bytes were requested beyond the end of a file. An error in the code that calls the hub.',
    scheduler: 'The `scheduler` option is not an object with `className` and `config`. Correct it.',
    seed: '`seed` is not a whole number in range. Correct it.',
    'set-timesteps': '`timesteps`, `sigmas` or `mu` do not suit the scheduler. The message says why.',
    'shape-mismatch': 'An input tensor has another shape than the network expects.',
    size: '`width` or `height` is not allowed for this model. The message lists the multiples and the limit.',
    'skip-layers': '`skipGuidanceLayers`, or an option that belongs to it, is out of range. Correct it.',
    strength: '`strength` is out of range, or leaves no step to run. Raise `strength` or `numInferenceSteps`.',
    timestep: 'A timestep is not one that the model was trained with.',
    token:
      'The tokenizer already has the word of an embedding: another embedding added it, or it is in the vocabulary. Choose another word with `token`, or rename the file.',
    'type-mismatch': 'An input tensor has another element type than the network expects.',
    'unknown-input': 'A network was given an input that it does not have.',
    'unknown-option': 'An option is misspelt or does not exist. The message lists all options.',
    'unsupported-image-type':
      'An image can be written as `image/png`, `image/jpeg` or `image/webp`, but not every browser writes WebP. Choose another type.',
    'variant-name': '`variant` has characters that are not allowed. Correct it.',
  },
  HubError: {
    'bad-answer': 'The server sent a response that is not valid for its API. Check the endpoint.',
    'bad-path': 'A file path leaves the repository. The repository is faulty or malicious.',
    'blocked-by-page':
      "The page's Content-Security-Policy, or its https, does not let it send this request. The message says what to change.",
    cors: 'The server does not allow other origins to read its files. It must send `Access-Control-Allow-Origin`.',
    'download-restarted': 'A download started over while its file was being converted. The load retries by itself.',
    'file-changed': 'A file changed after it was opened. Load again.',
    'file-not-found': 'The repository does not have this file or folder. Check `subfolder`, `variant` and `revision`.',
    'file-too-large': 'A file that must fit into memory, such as a config, is too large.',
    forbidden: 'The server refused access (403). Check the token and its permissions.',
    gated: 'The model requires accepting its terms. Accept them on its page, then pass a `token`.',
    'hash-mismatch': 'The downloaded bytes do not have the expected hash. Load again; if it recurs, the server sends wrong data.',
    'hash-thread-lost': 'The worker that verifies hashes ended. Load again; downloaded data is kept.',
    'html-page': 'The server sent an HTML page, such as a login page, in place of a file or an answer. Check the address.',
    'lfs-pointer': 'The server has a Git LFS pointer in place of the file. Run `git lfs pull` where the files come from.',
    'listing-unavailable':
      'A static host has neither a file list nor a config file that leads to the other files. Add `files.json`.',
    network: 'The connection failed. Check the network and try again; downloaded data is kept.',
    'range-not-honoured': 'The server ignores or mishandles range requests. Use another host.',
    'rate-limited': 'The server asked to slow down (429). Try again later.',
    'repository-not-found': 'The repository does not exist, or is private. Check its name, or pass a `token`.',
    'revision-not-found': 'The repository has no such revision. Check `revision`.',
    'server-error': 'The server failed (5xx or another unexpected status). Try again later.',
    'short-body': 'The connection ended before the whole response arrived. Try again; downloaded data is kept.',
    'size-mismatch': 'A file is not as long as its listing says. Load again; if it recurs, the host is faulty.',
    'size-unknown': 'The server does not report the length of a large file. Use a host that sends `Content-Length`.',
    stalled: 'No data arrived for a long time. Check the network and try again; downloaded data is kept.',
    'too-many-files': 'The chosen folder has too many files. Choose the folder of the checkpoint itself.',
    'url-expired': 'A signed download URL is no longer valid. Load again.',
  },
  StorageError: {
    'chunk-lost': 'The browser deleted stored data during a download. Load again.',
    'connection-lost': 'The browser closed the database. Load again.',
    'quota-exceeded': 'The storage quota is used up. Delete models, or free disk space.',
    'storage-failed': 'The browser reported another storage failure. Load again; models also run without the cache.',
    'storage-unavailable': 'IndexedDB cannot be used, for example in a private window. Models run without the cache.',
    'storage-unreadable': 'Stored data cannot be read. Load again; what is damaged is downloaded again.',
    'write-failed': 'The browser refused to store a value. Load again; models also run without the cache.',
  },
  CheckpointError: {
    'compressed-file': 'A file is compressed, and its server does not say so. Decompress it and upload it again.',
    'component-missing': 'The pipeline lacks a component that it needs. Choose another repository or pass `components`.',
    'config-not-object': 'A JSON file does not contain an object.',
    'dtype-mismatch': 'A tensor has another element type than its network expects.',
    'dtype-not-convertible': 'A tensor has an element type that cannot be converted to the type that the network uses.',
    'empty-file': 'A file has no bytes. Download or copy it again.',
    'gguf-header': 'A GGUF file is cut short or damaged. Download or copy it again.',
    'html-page': 'A file is an HTML page, such as a login page. Check the address of the repository.',
    'index-count': 'The weight index lists no tensors.',
    'index-shards': 'The weight index names too many shards.',
    'index-weight-map': 'The weight index has no valid `weight_map`.',
    'invalid-config': 'A value in a config file is missing or not allowed. The message says what is allowed.',
    'json-depth': 'A JSON file is nested too deeply.',
    'json-duplicate-key': 'A JSON file has a key twice.',
    'json-encoding': 'A JSON file is not UTF-8.',
    'json-syntax': 'A JSON file is not valid JSON.',
    'json-too-complex': 'A JSON file holds too many values.',
    'json-too-large': 'A JSON file is too large.',
    'lfs-pointer': 'A file is a Git LFS pointer. Run `git lfs pull` in the copy that it comes from, and copy it again.',
    'lora-mismatch':
      'A LoRA was trained for another family of models, or has names that diffusers does not read. The message names its first tensor that does not fit.',
    'model-index-class': '`model_index.json` names no pipeline class.',
    'model-index-components': '`model_index.json` names no components, or too many.',
    'not-an-embedding': 'A file is no textual inversion, or is for a text encoder that the pipeline does not have.',
    'not-a-lora': 'A file is no LoRA, or has only parts of one. The message names the tensor.',
    'other-format': 'A file is something else than its name says, such as an image or an archive. The message says what it is.',
    'pickle-file':
      'A file is a PyTorch pickle, which Aquatint does not read. Save the model with `save_pretrained`, as safetensors.',
    'quantization-config': 'The quantization described in `config.json` is not valid.',
    'quantized-name': 'A tensor has a name that quantization reserves. Load without quantization.',
    'safetensors-coverage': 'The tensors of a safetensors file do not cover the whole file.',
    'safetensors-header': 'The header of a safetensors file is not an object.',
    'safetensors-header-length': 'The header length of a safetensors file is not allowed.',
    'safetensors-header-start': 'The header of a safetensors file does not start with `{`.',
    'safetensors-metadata': 'The metadata of a safetensors file is not an object of strings.',
    'safetensors-offsets': 'The offsets of a tensor in a safetensors file are not valid.',
    'safetensors-shape': 'The shape of a tensor in a safetensors file is not valid.',
    'safetensors-size': 'The size of a tensor in a safetensors file does not match its shape and type.',
    'safetensors-tensor': 'A tensor entry in a safetensors header is not valid.',
    'safetensors-too-short': 'A safetensors file is shorter than its header says. Download or copy it again.',
    'shape-mismatch': 'A tensor has another shape than its config requires.',
    'shard-missing': 'The weight index names shards that the repository does not have.',
    'shard-name': 'The weight index names a shard with a path or name that is not allowed.',
    'single-file-component': 'A single file lacks a component. Name a repository that has it, as the message shows.',
    'tensor-missing': 'A tensor that the network needs is not in the checkpoint.',
    'tensor-used-twice': 'Two parameters would use the same tensor.',
    'token-id': 'The tokenizer produced a token that the text encoder does not have: they do not belong together.',
    'tokenizer-file': 'A tokenizer file is too large.',
    'tokenizer-max-length': '`model_max_length` of the tokenizer is not valid.',
    'tokenizer-merges': 'The merges of the tokenizer are missing or not valid.',
    'tokenizer-normalizer': 'The normalizer of the tokenizer is damaged.',
    'tokenizer-sentencepiece': 'The SentencePiece model is damaged.',
    'tokenizer-token': 'A special or added token of the tokenizer is not valid.',
    'tokenizer-vocabulary': 'The vocabulary of the tokenizer is missing or not valid.',
    'variant-not-found': 'The repository has no weights of this `variant`. Choose another, or leave it out.',
    'weight-not-finite': 'A weight is NaN or infinite, so it cannot be quantized. Load without quantization.',
    'weight-too-large': 'A weight is too large to be quantized. Load without quantization.',
    'weights-not-found': 'A component has no weights.',
  },
  UnsupportedError: {
    'gguf-type':
      'A tensor of a GGUF file has a type that Aquatint does not read. Choose a file in one of the types that the message lists.',
    'lora-fuse':
      'A LoRA cannot be fused into a layer, because the weight of the layer is quantized, or because the layer lacks the bias that the LoRA changes. Leave the LoRA unfused: it makes the same image.',
    'lora-method':
      'The file is an adapter of a method that is not supported, such as OFT, (IA)³ or a Tucker decomposition, or a DoRA beside quantized weights. LoRA, LoCon, DoRA, LoHa and LoKr are supported.',
    'pickle-weights': 'The weights are stored only as pickle, which can run code. Choose a repository with safetensors.',
    'single-file-family': 'A single file is no checkpoint of a supported family. The message says what it looks like.',
    'tokenizer-model': 'The tokenizer is of a kind that is not supported.',
    'tokenizer-side': 'The padding side or the truncation side of the tokenizer is neither `left` nor `right`.',
    'unsupported-class': 'A pipeline, network or scheduler class is not supported. The message lists the supported classes.',
    'unsupported-config': 'A config value is valid in diffusers but not supported. The message lists the supported values.',
  },
  DeviceError: {
    'all-zero': 'The device returned only zeros, so it did not compute. Update the browser or driver, or use another device.',
    'bad-output': 'onnxruntime returned an output of another type or shape than declared.',
    'bad-tensor': 'The data of a tensor does not match its type and shape.',
    'buffer-too-large': 'A buffer would exceed the limit of the GPU. Choose a smaller size.',
    'device-disposed': 'A device was used after it was disposed.',
    'device-lost': 'The GPU was reset or removed. The pipeline recovers once by itself; otherwise try again.',
    'device-lost-again': 'The GPU was lost twice in a short time. Choose a smaller size or the device `wasm`.',
    'device-not-available': 'The browser has a GPU adapter but gives no device. Restart the browser, or use `wasm`.',
    'does-not-fit':
      'The model or the image does not fit into the memory budget. Choose a smaller size, a larger `maxMemory` or another `offload`.',
    'engine-blocked':
      'The worker in which models run did not start: its script could not be fetched, or the page does not allow it. The message says what its policy must allow.',
    'engine-not-fetched':
      'The script of the worker in which models run could not be fetched, because the browser is offline. Try again with a network.',
    'engine-terminated': 'The worker ended: it crashed, ran out of memory, or was terminated. The next call starts a new one.',
    'gpu-error': 'The GPU reported an error. Try again, or use another device.',
    'no-graph': 'A network was loaded before its graph was written. An error in the code that calls the runtime.',
    'no-second-adapter': 'The browser has no second GPU adapter for `webgpu:1`. Use `webgpu` or `wasm`.',
    'not-finite': 'The result has NaN or infinite values. Use `dtype: "float32"`, or weights made for float16.',
    'not-loaded': 'A part of a network was run before its weights were loaded.',
    'out-of-memory': 'The device ran out of memory. Choose a smaller size, or set `maxMemory` or `offload`.',
    'runtime-error': 'onnxruntime reported an error. The message holds its text.',
    'runtime-not-loaded':
      'The files of onnxruntime-web could not be loaded, or the page does not allow WebAssembly. The message says which.',
    'runtime-version': 'The version of onnxruntime-web is not the one that Aquatint needs. Install that version.',
    'tensor-disposed': 'A tensor was used after it was disposed.',
    'webgpu-not-available': 'The browser has no WebGPU adapter. Use `device: "auto"` or `"wasm"`.',
  },
} as const

/** The codes that only the command line throws. */
export const commandErrorCodes = {
  InputError: {
    arguments: 'The arguments of a command are wrong. See `aquatint <command> --help`.',
    command: 'There is no such command. See `aquatint --help`.',
    'device-map': '`--device-map` is malformed.',
    'folder-depth': 'A folder is nested too deeply.',
    'incomplete-exists': 'The folder for unfinished files exists and holds something else. Rename or remove it.',
    'max-memory': '`--max-memory` is malformed.',
    'not-a-folder': 'A path is not a folder, or does not exist.',
    origin: '`--origin` is not an origin.',
    'out-exists': 'The output folder exists and is not empty. Choose another.',
    'out-inside': 'The output folder is inside the input folder. Choose another.',
    port: '`--port` is not a port number.',
    'port-in-use': 'Another program uses the port. Choose another with `--port`.',
  },
  StorageError: {
    'disk-space': 'The disk is full. Free some space and run the same command again.',
    'file-size': 'The file system does not allow files that large. Choose a smaller `--max-shard-size`.',
  },
  CheckpointError: {
    'no-weights': 'No component of the repository has weights.',
    'not-a-checkpoint': 'The folder is not a repository in the layout of diffusers.',
    'source-changed': 'Files changed while they were read. Run the command again.',
  },
  UnsupportedError: {
    'already-quantized': 'The weights are quantized already. Start from the original weights.',
  },
  AquatintError: {
    interrupted: 'The command was interrupted.',
    'other-repository': 'A command tried to open a repository other than the one that it checks.',
  },
} as const

/** Every code of an InputError. */
export type InputErrorCode = keyof (typeof errorCodes)['InputError'] | keyof (typeof commandErrorCodes)['InputError']
/** Every code of a HubError. */
export type HubErrorCode = keyof (typeof errorCodes)['HubError']
/** Every code of a StorageError. */
export type StorageErrorCode = keyof (typeof errorCodes)['StorageError'] | keyof (typeof commandErrorCodes)['StorageError']
/** Every code of a CheckpointError. */
export type CheckpointErrorCode =
  | keyof (typeof errorCodes)['CheckpointError']
  | keyof (typeof commandErrorCodes)['CheckpointError']
/** Every code of an UnsupportedError. */
export type UnsupportedErrorCode =
  | keyof (typeof errorCodes)['UnsupportedError']
  | keyof (typeof commandErrorCodes)['UnsupportedError']
/** Every code of a DeviceError. */
export type DeviceErrorCode = keyof (typeof errorCodes)['DeviceError']
/** Every error code. */
export type ErrorCode =
  | InputErrorCode
  | HubErrorCode
  | StorageErrorCode
  | CheckpointErrorCode
  | UnsupportedErrorCode
  | DeviceErrorCode
  | keyof (typeof commandErrorCodes)['AquatintError']
