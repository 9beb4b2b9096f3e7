window.trainingRun = {
  "history_sha256": "d913b1ece19da03d258318b497232803c67d44dbc22b806f6cba4550ba9bb4af",
  "weights_sha256": "37224b46b3ea19f5c2ff8b807600506ea4cc9d881895da3c961179dcf421cedf",
  "promise": "the same bits on this kind of processor with 2 threads, else nearly the same",
  "started": "2026-11-25T03:31:07Z",
  "seconds": 52.8,
  "resumed": false,
  "revision": "3fabc0c1c6fab7540816a8bad5f2225ef2c704ff",
  "changed": false,
  "platform": "Linux x86_64",
  "cpu": "AMD EPYC",
  "cores": 2,
  "threads": 2,
  "device": "cpu",
  "precision": "bf16-mixed",
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
