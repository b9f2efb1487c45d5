// Renders /docs.json with the Swagger UI of BentoML. The validator is disabled, because it is an external site.
SwaggerUIBundle({ url: "docs.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
