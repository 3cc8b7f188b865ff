"""A store folder that an Elasticsearch cluster follows; docs/elasticsearch.md says why it is built so.

In: commits, as the embedded store's. Out: the same, and every document in the cluster. Drops: nothing; what the cluster
refuses is listed (`csirt store dead-letters`) and stays in the folder. State: the folder, with what the cluster lacks.
"""
