"""From a folder of one person's recordings to a measured, exported voice.

The library behind the workflow: it knows files, tensors and sound, and nothing of Snakemake. Modules beside this one
are for everybody: errors, files, progress, languages, export targets. The rooms, each importing only what stands before
it:

``stages``: settings of every stage; what a stage runs imports the rooms when it is called.
``assets``: pretrained models, fetched by checksum.
``config``: the whole configuration, checked.
``lineage``: what results come from; caches by content.
``text``: text to phones; scoring of words.
``sound``: reading, separation, denoising, loudness, slicing.
``marks``: watermark, tags and signature of generated speech.
``listeners``: networks that are used and not trained.
``models``: the networks that are trained.
``corpus``: takes, transcripts, corrections, split.
``features``: what the trainings read.
``teachers``: packaged voices that speak texts for a training.
``kernels``: C for the CPU.
``graphs``: ONNX graphs, written and made smaller.
``backends``: bundles and the interface of what runs them.
``text_to_semantic``: the GPT in the forms that run fast or are exported.
``tensorrt``: engines of TensorRT and what runs them.
``speaking``: text to speech.
``training``: the step loop, checkpoints, both trainings.
``evaluation``: measuring a voice.
``export``: bundles and their proof.
``report``: the pages.
``base``: the base voice, packed and measured.
``serving``: speech over HTTP, for programs and people.
``commands``: the command ``voiceclone``.
"""

__version__ = "0.1.0"
