window.trainingRun = {
  "history_sha256": "c519e5cf29a0b6d86adabd392cd18f42e4383f6eafe10bd5d8e09acea343fa87",
  "started": "2026-11-24T13:07:33Z",
  "seconds": 109.5,
  "resumed": false,
  "revision": "a9a6b004ef237b6c04f592af563a8b11b746e840",
  "changed": false,
  "platform": "Linux x86_64",
  "cpu": "AMD EPYC",
  "cores": 2,
  "threads": 2,
  "device": "cpu",
  "versions": {
    "Python": "3.11.7",
    "albumentations": "2.0.8",
    "lightning-fabric": "2.6.6",
    "numpy": "2.4.6",
    "opencv-python-headless": "4.14.0.94",
    "scikit-image": "0.26.0",
    "scipy": "1.17.1",
    "segmentation-models-pytorch": "0.6.0",
    "torch": "2.15.0",
    "torchvision": "0.29.2"
  }
};
