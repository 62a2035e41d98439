"""Sphinx, to see that the pages of elasticranker/pt_docs build by themselves.

PyTerrier's own site takes that folder over as it is and builds it with its own settings, so nothing in the pages may
need more than these extensions, and this file stays out of the folder.
"""

project = "ElasticRanker"
author = "ElasticRanker developers"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autoclass_content = "both"  # as there: a class's page shows the arguments of its constructor
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
