"""The networks: layers, flow steps, HCFlow and IRN."""
