"""The reference networks, HCFlow and IRN, in PyTorch: readable, exact and differentiable.

    from hcflow_ref.checkpoint.load import load

    model = load("SR_DF2K_X4_HCFlow.pth").model
    lr, latents, logp = model(hr)
    hr = model.inverse(lr, latents)

Importing the package imports nothing; PyTorch comes with the module that needs it.
"""
