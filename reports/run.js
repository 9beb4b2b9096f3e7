window.trainingRun = {
  "history_sha256": "8c44d3adf6094d217c929510e1e8846b3deb75c2df1b8f792dfc02fe7b1703b3",
  "weights_sha256": "3cb02378b89b5702281129e07dc6e923ccb80ec6aad3d3bd27b928c609661ca4",
  "promise": "the same bits on this kind of processor with 2 threads, else nearly the same",
  "started": "2026-11-24T18:55:54Z",
  "seconds": 85.5,
  "resumed": false,
  "revision": "979f46e59421754a00b52f08020e889a31c5e3de",
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
