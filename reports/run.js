window.trainingRun = {
  "history_sha256": "d2327975f048469040f814583c0352d2d9ddadb1676ccc88fe0158da5755dc5a",
  "weights_sha256": "34d6c1a357f17ebf050f2d25d61f0fe035b4660d7f36be9c10068f30c0852039",
  "promise": "the same bits on this kind of processor with 2 threads, else nearly the same",
  "started": "2026-11-24T17:12:24Z",
  "seconds": 90.4,
  "resumed": false,
  "revision": "c90e7c4c72eadf7dfdb8fb2f2db3e9579bed908a",
  "changed": true,
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
